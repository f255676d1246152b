"""A world around this machine for tests: a neighbour in a network namespace, at public-looking and at other addresses.

It is made by root alone, reached by a pair of virtual devices, and gone with its process.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

NAME = "public.test"
PORT = 8099
# Of the neighbour; this machine has the same with a 1 at the end.
PUBLIC_4, PUBLIC_6 = "198.51.100.2", "2001:db8:51::2"
PRIVATE_4, PRIVATE_6 = "10.213.77.2", "fd5e:213::2"
SHARED_4, LINK_LOCAL_4 = "100.90.77.2", "169.254.77.2"
METADATA_6 = "fd00:ec2::254"
HOSTS_4, HOSTS_6 = "198.51.100.1", "2001:db8:51::1"

_NETWORK = 0x40000000

_SERVER = """
import socket, sys, threading

def banner(server):
    while True:
        connection, _ = server.accept()
        connection.sendall(b"neighbour")
        connection.close()

def echo(server):
    while True:
        data, address = server.recvmsg(512)[0::3]
        server.sendto(b"neighbour", address)

def answer(question):
    end = question.index(0, 12) + 5
    kind = question[end - 4:end - 2]
    data = {1: socket.inet_aton(sys.argv[2]), 28: socket.inet_pton(socket.AF_INET6, sys.argv[3])}.get(kind[1])
    known = b"public" in question and data is not None
    head = question[:2] + bytes([0x81, 0x80 if b"public" in question else 0x83, 0, 1, 0, int(known), 0, 0, 0, 0])
    record = b"" if not known else b"\\xc0\\x0c" + kind + b"\\0\\1\\0\\0\\0\\5" + len(data).to_bytes(2, "big") + data
    return head + question[12:end] + record

def resolve(server):
    while True:
        question, address = server.recvfrom(512)
        server.sendto(answer(question), address)

def resolve_streams(server):
    while True:
        connection, _ = server.accept()
        size = int.from_bytes(connection.recv(2), "big")
        text = answer(connection.recv(size))
        connection.sendall(len(text).to_bytes(2, "big") + text)
        connection.close()

def datagrams(port):
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("::", port))
    return server

def stream(port):
    return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)

port = int(sys.argv[1])
for work, server in ((banner, stream(port)), (echo, datagrams(port)), (resolve, datagrams(53)),
                     (resolve_streams, stream(53))):
    threading.Thread(target=work, args=(server,), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """`resolvers` is a resolv.conf that names its resolver at a private address."""

    resolvers: Path


@contextmanager
def network_of(pid: int) -> Iterator[None]:
    """This thread in the network of a process, with all that it starts meanwhile; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as ours, open(f"/proc/{pid}/ns/net") as theirs:
        if libc.setns(theirs.fileno(), _NETWORK) != 0:
            raise OSError(ctypes.get_errno(), "only root enters the network of another process")
        try:
            yield
        finally:
            assert libc.setns(ours.fileno(), _NETWORK) == 0


@contextmanager
def neighbour(folder: Path) -> Iterator[Neighbour]:
    """The neighbour while it is there; raises PermissionError or FileNotFoundError where it cannot be made."""
    if os.geteuid() != 0:
        raise PermissionError("only root can make a network namespace that this machine is connected to")
    with _only_one(), _made(folder) as made:
        yield made


@contextmanager
def _only_one() -> Iterator[None]:
    """Its addresses are always the same: tests that run beside each other take turns."""
    with (Path(tempfile.gettempdir()) / "clowdy-neighbour.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _made(folder: Path) -> Iterator[Neighbour]:
    process = subprocess.Popen(
        ["unshare", "--net", sys.executable, "-I", "-c", _SERVER, str(PORT), PUBLIC_4, PUBLIC_6],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        ours = f"clowdy{process.pid}"[:15]
        _run("ip", "link", "add", ours, "type", "veth", "peer", "name", "theirs", "netns", str(process.pid))
        inside = ("nsenter", "--target", str(process.pid), "--net")
        for address in (PUBLIC_4, PRIVATE_4, SHARED_4, LINK_LOCAL_4, PUBLIC_6, PRIVATE_6, METADATA_6):
            bits, nodad = ("64", ["nodad"]) if ":" in address else ("24", [])
            _run(*inside, "ip", "address", "add", f"{address}/{bits}", "dev", "theirs", *nodad)
            here = f"{address.rpartition('2')[0]}1" if address != METADATA_6 else "fd00:ec2::1"
            _run("ip", "address", "add", f"{here}/{bits}", "dev", ours, *nodad)
        _run(*inside, "ip", "link", "set", "lo", "up")
        _run(*inside, "ip", "link", "set", "theirs", "up")
        _run("ip", "link", "set", ours, "up")
        resolvers = folder / "resolv.conf"
        resolvers.write_text(f"nameserver {PRIVATE_4}\n")
        resolvers.chmod(0o644)
        yield Neighbour(resolvers)
    finally:
        process.kill()
        process.communicate()


@contextmanager
def neighbour_or_skip(folder: Path) -> Iterator[Neighbour]:
    """The neighbour for a test, which is skipped where none can be made."""
    try:
        with neighbour(folder) as found:
            yield found
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no neighbour can be made here, so that nothing outside can be reached: {error}")


def is_pasta(pid: int) -> bool:
    """Whether a process is there that connects an instance."""
    try:
        return "pas" in Path(f"/proc/{pid}/comm").read_text()[:3]
    except OSError:
        return False


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


class Listener:
    """Listens on every address of this machine, and counts who came."""

    def __init__(self) -> None:
        self._stream = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port = self._stream.getsockname()[1]
        self._datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self._datagrams.bind(("::", self.port))
        self._stream.setblocking(False)
        self._datagrams.setblocking(False)

    def visitors(self) -> list[str]:
        """Where those who came, came from."""
        found = []
        try:
            while True:
                connection, address = self._stream.accept()
                connection.close()
                found.append(str(address[0]))
        except BlockingIOError:
            pass
        try:
            while True:
                found.append(str(self._datagrams.recvfrom(512)[1][0]))
        except BlockingIOError:
            pass
        return found

    def close(self) -> None:
        self._stream.close()
        self._datagrams.close()
