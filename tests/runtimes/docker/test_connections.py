from __future__ import annotations

import ast
import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

import pytest

from clowdy.runtimes.api import DriverUnavailable, Instance, Kind
from clowdy.runtimes.docker import connections as module
from clowdy.runtimes.docker.connections import Connections
from clowdy.runtimes.docker.container import SERVER, maker_config
from clowdy.runtimes.docker.driver import DockerDriver, server_name
from clowdy.runtimes.docker.engine import Engine
from clowdy.runtimes.docker.images import Images
from clowdy.runtimes.docker.netfilter import rules_message
from clowdy.runtimes.sandbox.network import PUBLIC_ONLY, Policy
from clowdy.schema.manifest import Network
from tests.contracts.neighbours import Listener, network_of
from tests.contracts.world import World, ask
from tests.engine import PrivateEngine

pytestmark = pytest.mark.slow

CONNECTED = Kind(None, Network.ON)
EARLY, LATER = "203.0.113.9", "203.0.113.77"
VISITOR = """
    import socket

    def visit(address, port):
        try:
            with socket.create_connection((address, port), 1):
                return "reached"
        except OSError as error:
            return error.strerror or "lost"

    def handler(event):
        return [visit(*each) for each in event]
    """
REFUSED = "No route to host"


class Server(NamedTuple):
    """A driver and what it was made of."""

    name: str
    engine: Engine
    images: Images
    driver: DockerDriver


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that every user may pass, unlike pytest's own: instances have users of their own."""
    folder = Path(tempfile.mkdtemp(prefix="clowdy-connections-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


Open = Callable[..., Awaitable[Server]]


@pytest.fixture
async def open_server(functions_engine: PrivateEngine, folder: Path) -> AsyncIterator[Open]:
    """Opens the driver of a server on the engine; `enters` is that of Connections."""
    async with AsyncExitStack() as opened:

        async def open_server(enters: bool | None = None) -> Server:
            engine = Engine(functions_engine.url)
            name = server_name(folder)
            images = Images(engine, name, folder / "docker")
            connections = Connections(engine, images, name, PUBLIC_ONLY, enters=enters)
            driver = DockerDriver(folder, engine, images, connections=connections)
            await driver.open()
            opened.push_async_callback(driver.close)
            return Server(name, engine, images, driver)

        yield open_server


@pytest.fixture
def address(functions_engine: PrivateEngine) -> Iterator[Callable[[str], None]]:
    """Gives the engine's machine a further address."""
    inside = ("nsenter", "--target", str(functions_engine.pid), "--net", "ip", "address")
    with ExitStack() as given:

        def give(address: str) -> None:
            subprocess.run([*inside, "add", f"{address}/32", "dev", "lo"], check=True)
            given.callback(subprocess.run, [*inside, "del", f"{address}/32", "dev", "lo"], check=True)

        yield give


@pytest.fixture
def listener(functions_engine: PrivateEngine) -> Iterator[Listener]:
    """On every address of the engine's machine."""
    with network_of(functions_engine.pid):
        here = Listener()
    yield here
    here.close()


async def visit(instance: Instance, port: int, *addresses: str) -> list[str]:
    said: list[str] = (await ask(instance, [[address, port] for address in addresses])).json
    return said


def gateway(server: Server, engine: PrivateEngine) -> str:
    """The address of the engine's machine on the network of the server."""
    inside = ["nsenter", "--target", str(engine.pid), "--net", "ip", "-4", "-o", "address", "show"]
    lines = subprocess.run(inside, capture_output=True, text=True, check=True).stdout.splitlines()
    return next(line.split()[3].partition("/")[0] for line in lines if f"clowdy{server.name[:8]}" in line)


async def no_containers(server: Server) -> None:
    """Returns when the server has none: those that ended are removed after that."""
    ours = {"label": f"{SERVER}={server.name}"}
    async with asyncio.timeout(10):
        while await server.engine.ask(lambda client: client.containers(all=True, filters=ours)):
            await asyncio.sleep(0.02)


def break_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on they hold what no kernel knows."""
    monkeypatch.setattr(
        module, "rules_message", lambda *arguments: rules_message(*arguments).replace(b"lookup", b"lookux")
    )


@pytest.fixture(params=["entered", "joined"])
def enters(request: pytest.FixtureRequest) -> bool:
    """How the rules get in: a server that is root enters, for another one a container joins."""
    return bool(request.param == "entered")


async def test_the_machine_of_the_engine_is_not_reached(
    open_server: Open, functions_engine: PrivateEngine, listener: Listener, address: Callable[[str], None], enters: bool
) -> None:
    """Neither where it is the server's, nor where it has another network than that."""
    address(EARLY)
    server = await open_server(enters)
    instance = await World(server.driver).serve(VISITOR, network=Network.ON)
    assert await visit(instance, listener.port, EARLY, gateway(server, functions_engine)) == [REFUSED] * 2
    assert listener.visitors() == []


async def test_an_address_that_comes_later_is_kept_from_what_runs(
    open_server: Open, functions_engine: PrivateEngine, listener: Listener, address: Callable[[str], None], enters: bool
) -> None:
    with network_of(functions_engine.pid):
        server = await open_server(enters)
        instance = await World(server.driver).serve(VISITOR, network=Network.ON)
        address(LATER)
        async with asyncio.timeout(10):
            while await visit(instance, listener.port, LATER) != [REFUSED]:
                await asyncio.sleep(0.05)
        listener.visitors()
        assert await visit(instance, listener.port, LATER) == [REFUSED]
        assert listener.visitors() == []


async def test_where_no_rules_can_be_set_a_network_is_refused_with_the_reason(
    open_server: Open, monkeypatch: pytest.MonkeyPatch, enters: bool
) -> None:
    break_rules(monkeypatch)
    server = await open_server(enters)
    with pytest.raises(DriverUnavailable, match=r"network: true cannot be had here: .*No such file.* Cure: "):
        await server.driver.start(CONNECTED)
    assert server.driver.no_network is not None
    assert "a network that reaches neither" not in " ".join(server.driver.promises)
    # The others are as before.
    assert (await World(server.driver).outcome("def handler(event): return 1")).json == 1


async def test_an_instance_whose_rules_fail_is_never_handed_out(
    open_server: Open, monkeypatch: pytest.MonkeyPatch, enters: bool
) -> None:
    server = await open_server(enters)
    await (await server.driver.start(CONNECTED)).kill()
    await (await server.driver.start(Kind(None, Network.OFF))).kill()
    break_rules(monkeypatch)
    server.driver.connections._messages.clear()
    with pytest.raises(DriverUnavailable, match="No such file"):
        await server.driver.start(CONNECTED)
    await no_containers(server)


async def test_an_instance_ends_when_its_rules_cannot_be_kept_true(
    open_server: Open,
    functions_engine: PrivateEngine,
    address: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with network_of(functions_engine.pid):
        server = await open_server()
        instance = await World(server.driver).serve(VISITOR, network=Network.ON)
        break_rules(monkeypatch)
        address(LATER)
        async with asyncio.timeout(10):
            while instance.alive:
                await asyncio.sleep(0.02)
    assert "the rules of its network could not be brought up to date" in caplog.text


async def test_the_network_is_the_servers_own_comes_again_and_goes_with_it(open_server: Open) -> None:
    server = await open_server()
    name = f"clowdy-{server.name}"

    async def networks() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await server.engine.ask(lambda client: client.networks(names=[name]))
        return found

    assert await networks() == []
    # Several starts at once make one.
    instances = await asyncio.gather(*(server.driver.start(CONNECTED) for _ in range(3)))
    [found] = await networks()
    assert found["Labels"] == {SERVER: server.name}
    await asyncio.gather(*(instance.kill() for instance in instances))
    await (await server.driver.start(Kind(None, Network.OFF))).kill()
    await no_containers(server)
    await server.engine.ask(lambda client: client.remove_network(name))
    await (await server.driver.start(CONNECTED)).kill()
    assert len(await networks()) == 1
    await server.driver.close()
    other = await open_server()
    assert await other.engine.ask(lambda client: client.networks(names=[name])) == []


async def test_a_network_of_somebody_else_is_not_taken_for_it(open_server: Open) -> None:
    server = await open_server()
    name = f"clowdy-{server.name}"
    await server.engine.ask(lambda client: client.create_network(name))
    try:
        with pytest.raises(DriverUnavailable, match=f"Cure: docker network rm {name}"):
            await server.driver.start(CONNECTED)
    finally:
        await server.engine.ask(lambda client: client.remove_network(name))


async def test_a_container_is_connected_for_a_while_to_what_it_is_allowed(
    open_server: Open, functions_engine: PrivateEngine, listener: Listener
) -> None:
    server = await open_server()
    connections = server.driver.connections
    program = ["python3", "-c", "import time; time.sleep(60)"]
    image = await server.images.of(None)
    place = await connections.place()
    config = maker_config(image, program, resolvers=place.resolvers, labels={SERVER: server.name})
    container = await server.engine.ask(lambda client: client.create_container_from_config(config)["Id"])

    async def reached(*addresses: str) -> list[str]:
        calls = f"{dedent(VISITOR)}\nprint(handler({[[each, listener.port] for each in addresses]}))"
        run = await server.engine.ask(lambda client: client.exec_create(container, ["python3", "-c", calls])["Id"])
        said = (await server.engine.ask(lambda client: client.exec_start(run))).decode()
        found: list[str] = ast.literal_eval(said)
        return found

    allowed = gateway(server, functions_engine)
    try:
        await server.engine.ask(lambda client: client.start(container))
        async with connections.connected(container, Policy(allowed=(allowed,)), lambda: None):
            assert await reached(allowed, "192.0.0.2") == ["reached", REFUSED]
        assert await reached(allowed) == ["Network is unreachable"]
    finally:
        await server.engine.remove(container)
