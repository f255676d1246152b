"""What a function with `network: true` reaches, and what it cannot, however it tries."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from clowdy.runtimes.api import FailureCode, Instance, Kind, Limits, Promise
from clowdy.runtimes.docker import resolvers
from clowdy.runtimes.pool import Pool
from clowdy.runtimes.sandbox import SandboxDriver, network
from clowdy.runtimes.sandbox.network import Policy
from clowdy.runtimes.sandbox.watcher import descendants
from clowdy.schema.manifest import Network
from clowdy.schema.units import MEBIBYTE
from tests.contracts import neighbours
from tests.contracts.drivers import DOCKER, MakeDriver
from tests.contracts.neighbours import Listener, is_pasta
from tests.contracts.world import World, application, ask, begin, direct

Needs = Callable[..., None]

# Every way of sending that a program without privileges has; `came` tells what answered.
VISITOR = """
    import socket, struct

    DEVICE = 25
    def outside():
        for line in open("/proc/net/route").readlines()[1:]:
            device, destination = line.split()[:2]
            if int(destination, 16) == 0:
                return device
    def reach(seconds, address, port, how):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        kind = socket.SOCK_DGRAM if how.startswith("datagram") else socket.SOCK_STREAM
        with socket.socket(family, kind) as one:
            one.settimeout(seconds)
            target = (address, port)
            if how.endswith("by device"):
                one.setsockopt(socket.SOL_SOCKET, DEVICE, outside().encode() + b"\\0")
            try:
                if how == "datagram by packet info":
                    index = socket.if_nametoindex(outside())
                    if family == socket.AF_INET:
                        extra = (socket.IPPROTO_IP, 8, struct.pack("@I4s4s", index, bytes(4), bytes(4)))
                    else:
                        extra = (socket.IPPROTO_IPV6, 50, bytes(16) + struct.pack("@I", index))
                    one.sendmsg([b"x"], [extra], 0, target)
                elif kind == socket.SOCK_DGRAM:
                    one.sendto(b"x", target)
                else:
                    one.connect(target)
                return one.recv(16).decode() or "closed"
            except OSError as error:
                return type(error).__name__ + ": " + str(error)

    def handler(event):
        return [reach(*each) for each in event]
    """
STREAMS = ("stream", "stream by device")
DATAGRAMS = ("datagram", "datagram by device", "datagram by packet info")


@pytest.fixture
def machine(driver_name: str, make_driver: MakeDriver, request: pytest.FixtureRequest) -> Iterator[None]:
    """This process on the machine of its driver: an engine of the tests has a network of its own."""
    if driver_name != DOCKER:
        yield
        return
    with neighbours.network_of(request.getfixturevalue("functions_engine").pid):
        yield


@pytest.fixture
def around(machine: None, folders: Path) -> Iterator[neighbours.Neighbour]:
    with neighbours.neighbour_or_skip(folders) as found:
        yield found


@pytest.fixture
def pasta(machine: None) -> Callable[[], list[int]]:
    """The processes that connect instances. An engine of the tests has one as well."""
    others = set(descendants(os.getpid()))
    return lambda: [pid for pid in descendants(os.getpid()) if pid not in others and is_pasta(pid)]


@pytest.fixture
async def connected(
    around: neighbours.Neighbour,
    make_driver: MakeDriver,
    pasta: Callable[[], list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[World]:
    """An open driver on a machine that has a neighbour and a resolver at a private address."""
    monkeypatch.setattr(network, "RESOLVERS", around.resolvers)
    monkeypatch.setattr(resolvers, "FILES", (around.resolvers,))
    driver = make_driver()
    await driver.open()
    if driver.no_network is not None:
        await driver.close()
        pytest.skip(f"{driver.name}: {driver.no_network}")
    yield World(driver)
    before = pasta()
    await driver.close()
    assert not [pid for pid in before if is_pasta(pid)]


@pytest.fixture
def closed(connected: World) -> World:
    if Promise.CLOSED_NETWORK not in connected.driver.promises:
        pytest.skip(f"{connected.driver.name} does not promise: {Promise.CLOSED_NETWORK}")
    return connected


@pytest.fixture
def sandboxed(closed: World) -> World:
    if not isinstance(closed.driver, SandboxDriver):
        pytest.skip("no program connects its instances")
    return closed


@pytest.fixture
def listener(machine: None) -> Iterator[Listener]:
    here = Listener()
    yield here
    here.close()


async def attempt(
    instance: Instance, addresses: list[str], port: int, ways: tuple[str, ...], seconds: float = 2.0
) -> dict[str, str]:
    """What each way to each address came to; what is lost without a word is waited for `seconds`."""
    tries = [[seconds, address, port, way] for address in addresses for way in ways]
    said = (await ask(instance, tries, timeout=60.0)).json
    return {f"{way} to {address}": answer for (_, address, _, way), answer in zip(tries, said, strict=True)}


async def test_public_addresses_are_reached(connected: World) -> None:
    instance = await connected.serve(VISITOR, network=Network.ON)
    ways = ("stream", "datagram")
    said = await attempt(instance, _public(connected), neighbours.PORT, ways)
    assert set(said.values()) == {"neighbour"}, said


async def test_names_are_resolved_though_the_resolver_has_a_private_address(closed: World) -> None:
    source = """
        import socket
        def handler(event):
            found = {each[4][0] for each in socket.getaddrinfo("public.test", 80, type=socket.SOCK_STREAM)}
            question = b"\\x12\\x34\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\6public\\4test\\0\\0\\1\\0\\1"
            resolver = open("/etc/resolv.conf").read().split()[1]
            with socket.create_connection((resolver, 53), 5) as stream:
                stream.sendall(len(question).to_bytes(2, "big") + question)
                answered = len(stream.recv(512)) > len(question)
            try:
                socket.getaddrinfo("other.test", 80)
            except socket.gaierror as error:
                return [sorted(found), answered, error.errno == socket.EAI_NONAME]
        """
    instance = await closed.serve(source, network=Network.ON)
    said = (await ask(instance)).json
    assert said == [[neighbours.PUBLIC_4, neighbours.PUBLIC_6], True, True]


async def test_this_machine_is_not_reached_by_any_of_its_addresses(closed: World, listener: Listener) -> None:
    instance = await closed.serve(VISITOR, network=Network.ON)
    own = _own_addresses()
    mapped = [f"::ffff:{address}" for address in own if ":" not in address]
    addresses = [*own, *mapped, "127.0.0.53", "192.0.0.1", "192.0.0.2", "192.0.0.3", "fdc1:d:1:d::1", "0.0.0.0"]
    assert neighbours.HOSTS_4 in addresses
    assert neighbours.HOSTS_6 in addresses
    said = await attempt(instance, addresses, listener.port, STREAMS + DATAGRAMS, 0.3)
    assert listener.visitors() == []
    assert not {way: answer for way, answer in said.items() if not _failed(answer)}


async def test_private_link_local_and_metadata_addresses_are_not_reached(closed: World) -> None:
    instance = await closed.serve(VISITOR, network=Network.ON)
    addresses = [
        *(neighbours.PRIVATE_4, neighbours.PRIVATE_6, neighbours.SHARED_4),
        *(neighbours.LINK_LOCAL_4, neighbours.METADATA_6),
    ]
    said = await attempt(instance, addresses, neighbours.PORT, STREAMS + DATAGRAMS)
    assert not {way: answer for way, answer in said.items() if not _failed(answer)}
    again = await attempt(instance, _public(closed), neighbours.PORT, STREAMS + DATAGRAMS)
    assert set(again.values()) == {"neighbour"}, again


async def test_private_addresses_are_reached_where_the_server_allows_them_and_no_others(
    closed: World, make_driver: MakeDriver, listener: Listener
) -> None:
    await closed.driver.close()
    driver = make_driver(Policy(allow_private=True))
    await driver.open()
    try:
        instance = await World(driver).serve(VISITOR, network=Network.ON)
        private = [neighbours.PRIVATE_4, neighbours.SHARED_4, *([neighbours.PRIVATE_6] if _has_6(closed) else [])]
        said = await attempt(instance, private, neighbours.PORT, ("stream", "datagram"))
        assert set(said.values()) == {"neighbour"}, said
        others = [neighbours.LINK_LOCAL_4, neighbours.METADATA_6]
        said = await attempt(instance, others, neighbours.PORT, STREAMS + DATAGRAMS)
        assert all(map(_failed, said.values())), said
        await attempt(instance, _own_addresses(), listener.port, ("stream", "datagram"), 0.3)
        assert listener.visitors() == []
    finally:
        await driver.close()


async def test_multicast_and_broadcast_are_refused(closed: World) -> None:
    source = """
        import socket
        def handler(event):
            said = []
            for address in event:
                with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as one:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                    try:
                        one.sendto(b"x", (address, 5353))
                        said.append("sent")
                    except OSError as error:
                        said.append("refused")
            return said
        """
    instance = await closed.serve(source, network=Network.ON)
    addresses = ["224.0.0.251", "239.255.255.250", "255.255.255.255", "192.0.0.7", "ff02::fb%2", "ff05::c"]
    assert (await ask(instance, addresses)).json == ["refused"] * len(addresses)


async def test_an_address_that_this_machine_gets_later_is_not_reached_either(closed: World, listener: Listener) -> None:
    instance = await closed.serve(VISITOR, network=Network.ON)
    later = ["198.51.100.77", "2001:db8:51::77"]
    for address in later:
        subprocess.run(["ip", "address", "add", _alone(address), "dev", "lo"], check=True)
    try:
        visited = True
        async with asyncio.timeout(10):
            while visited:
                await attempt(instance, later, listener.port, ("stream",), 0.3)
                visited = bool(listener.visitors())
        said = await attempt(instance, later, listener.port, STREAMS + DATAGRAMS, 0.3)
        assert listener.visitors() == []
        assert all(map(_failed, said.values()))
        said = await attempt(instance, [neighbours.PUBLIC_4], neighbours.PORT, ("stream",))
        assert set(said.values()) == {"neighbour"}
        again = await closed.serve(VISITOR, network=Network.ON)
        await attempt(again, later, listener.port, STREAMS + DATAGRAMS, 0.3)
        assert listener.visitors() == []
    finally:
        for address in later:
            subprocess.run(["ip", "address", "del", _alone(address), "dev", "lo"], check=True)


async def test_instances_do_not_reach_each_other(closed: World) -> None:
    server = """
        import socket, threading
        def handler(event):
            listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
            threading.Thread(target=lambda: listener.accept()[0].sendall(b"found"), daemon=True).start()
            with socket.socket(type=socket.SOCK_DGRAM) as one:
                one.connect((event, 9))
                return [listener.getsockname()[1], one.getsockname()[0]]
        """
    port, address = (await ask(await closed.serve(server, network=Network.ON), neighbours.PUBLIC_4)).json
    visitor = await closed.serve(VISITOR, network=Network.ON)
    said = await attempt(visitor, ["127.0.0.1", "::1", address, "fdc1:d:1:d::2"], port, STREAMS)
    assert not {way: answer for way, answer in said.items() if not _failed(answer)}


async def test_nothing_outside_reaches_a_function(closed: World) -> None:
    source = """
        import select, socket
        def handler(event):
            address, seconds = event
            with socket.socket(type=socket.SOCK_DGRAM) as one:
                one.connect((address, 9))
                own = one.getsockname()[0]
            with socket.create_server((own, 8000)) as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
                datagrams.bind((own, 8000))
                return [own, len(select.select([stream, datagrams], [], [], seconds)[0])]
        """
    instance = await closed.serve(source, network=Network.ON)
    address, _ = (await ask(instance, [neighbours.PUBLIC_4, 0])).json
    said = begin(instance, direct(), json.dumps([neighbours.PUBLIC_4, 1.5]).encode())
    for _ in range(4):
        await asyncio.sleep(0.1)
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            stream.setblocking(False)
            stream.connect_ex((address, 8000))
            datagrams.sendto(b"x", (address, 8000))
            await asyncio.sleep(0.1)
    assert (await said.ended).json == [address, 0]


async def test_a_function_cannot_change_its_network(closed: World) -> None:
    source = """
        import ctypes, os, socket, subprocess
        def handler(event):
            libc = ctypes.CDLL(None, use_errno=True)
            said = [libc.unshare(0x40000000), libc.unshare(0x10000000)]
            for family, kind in ((16, 3), (17, 3), (2, 3), (10, 3)):
                try:
                    socket.socket(family, kind)
                    said.append("made")
                except OSError:
                    said.append(-1)
            for path in ("/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/disable_ipv6"):
                try:
                    open(path, "w").write("1")
                    said.append("written")
                except OSError:
                    said.append(-1)
            for command in (["nft", "flush", "ruleset"], ["ip", "link", "set", "outside", "down"]):
                try:
                    said.append(-1 if subprocess.run(command, env={"PATH": "/usr/sbin"}).returncode else "changed")
                except OSError:
                    said.append(-1)
            return said
        """
    assert set((await closed.outcome(source, network=Network.ON)).json) == {-1}


async def test_as_many_connections_are_open_as_there_may_be_files(closed: World) -> None:
    source = """
        import socket
        def handler(event):
            held = []
            try:
                while True:
                    held.append(socket.create_connection(event, 5))
            except OSError as error:
                return [len(held), error.strerror, {each.recv(16).decode() for each in held} == {"neighbour"}]
        """
    instance = await closed.serve(source, network=Network.ON, limits=Limits(cpu=2.0))
    count, error, answered = (await ask(instance, [neighbours.PUBLIC_4, neighbours.PORT], timeout=60.0)).json
    assert 1000 <= count <= 1024
    assert (error, answered) == ("Too many open files", True)


async def test_certificates_are_there_to_be_trusted(closed: World) -> None:
    source = """
        import os, ssl
        def handler(event):
            try:
                open("/etc/ssl/certs/mine.pem", "w")
            except OSError:
                return ssl.create_default_context().cert_store_stats()["x509_ca"]
        """
    if not Path("/etc/ssl/certs/ca-certificates.crt").exists():
        pytest.skip("this machine has no certificates")
    assert (await closed.outcome(source, network=Network.ON)).json > 10


@pytest.mark.parametrize("how", ["kill", "crash", "close"])
async def test_what_connects_an_instance_ends_with_it(
    sandboxed: World, pasta: Callable[[], list[int]], how: str
) -> None:
    source = """
        import os, signal
        def handler(event):
            if os.fork() == 0:
                signal.pause()
            if event == "crash":
                os._exit(1)
        """
    instance = await sandboxed.serve(source, network=Network.ON)
    there = pasta()
    assert there
    await ask(instance, how)
    if how == "close":
        await sandboxed.driver.close()
    await instance.kill()
    assert not [pid for pid in there if is_pasta(pid)]


LOST = """
    import time
    def handler(event):
        time.sleep(event)
        return "here"
    """


@pytest.mark.parametrize("seconds", [0, 60])
async def test_an_instance_that_lost_its_network_ends_and_the_next_call_gets_another(
    sandboxed: World, pasta: Callable[[], list[int]], caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    pool = Pool(sandboxed.driver, budget_bytes=1024 * MEBIBYTE, standbys=0)
    wanted = application(LOST, network=Network.ON)
    one = (await pool.acquire(wanted)).instance
    sink = begin(one, direct(), str(seconds).encode())
    if not seconds:
        assert (await sink.ended).json == "here"
        pool.release(one)
    [pid] = pasta()
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(5):
        while one.alive:
            await asyncio.sleep(0.01)
    if seconds:
        outcome = await sink.ended
        assert (outcome.code, outcome.text) == (FailureCode.CRASHED, "The instance lost its network")
        pool.release(one)
    other = (await pool.acquire(wanted)).instance
    assert other is not one
    assert (await ask(other, 0)).json == "here"
    assert f"instance {one.id} ends: pasta, which connected it to the network, has ended" in caplog.text
    caplog.clear()
    await pool.close()
    assert not caplog.text


async def test_a_crash_with_a_network_is_told_as_any_other(closed: World, caplog: pytest.LogCaptureFixture) -> None:
    source = "import os\ndef handler(event): os._exit(3)"
    for _ in range(5):
        instance = await closed.serve(source, network=Network.ON)
        assert (await ask(instance)).text == "The function's process ended with exit status 3"
    assert not caplog.text


async def test_no_network_is_not_spoken_of_where_there_is_one(connected: World) -> None:
    source = """
        import socket
        def handler(event):
            return socket.socket().connect_ex(("127.0.0.1", 9))
        """
    assert (await connected.outcome(source, network=Network.ON)).log == ""


async def test_instances_with_and_without_a_network_are_told_apart(connected: World, needs_off: None) -> None:
    """A network for one is none for another of the same driver."""
    with_network = await connected.serve(VISITOR, network=Network.ON)
    without = await connected.serve(VISITOR)
    assert with_network.kind == Kind(None, Network.ON)
    assert without.kind == Kind(None, Network.OFF)
    tries = [[2.0, neighbours.PUBLIC_4, neighbours.PORT, "stream"]]
    assert (await ask(with_network, tries)).json == ["neighbour"]
    assert "unreachable" in (await ask(without, tries)).json[0]


@pytest.fixture
def needs_off(connected: World) -> None:
    if Promise.NO_NETWORK not in connected.driver.promises:
        pytest.skip(f"{connected.driver.name} does not promise: {Promise.NO_NETWORK}")


def _has_6(world: World) -> bool:
    """Whether its instances have version 6 of IP."""
    return world.driver.name != DOCKER


def _public(world: World) -> list[str]:
    return [neighbours.PUBLIC_4, *([neighbours.PUBLIC_6] if _has_6(world) else [])]


def _own_addresses() -> list[str]:
    links = json.loads(subprocess.run(["ip", "-j", "address"], capture_output=True, check=True).stdout)
    return [each["local"] for link in links for each in link["addr_info"] if not each["local"].startswith("fe80")]


def _alone(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


def _failed(answer: str) -> bool:
    return "Error" in answer
