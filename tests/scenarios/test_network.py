"""`network: true`, from the push to the last process of a killed server."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clowdy.runtimes.sandbox.watcher import descendants
from tests.contracts import neighbours
from tests.contracts.neighbours import is_pasta
from tests.contracts.world import processes_with
from tests.harness import Server

MANIFEST = "functions:\n  hello: {network: true}\nroutes:\n  GET /: hello\n"
HANDLER = """
import socket

def handler(event):
    said = {}
    for target in event["query"]["to"].split(","):
        host, _, port = target.rpartition("@")
        try:
            with socket.create_connection((host, int(port)), 2) as one:
                said[host] = one.recv(16).decode() or "connected"
        except OSError as error:
            said[host] = "refused" if not isinstance(error, TimeoutError) else "connected"
    return said
"""
FILES = {"clowdy.yaml": MANIFEST, "functions/hello.py": HANDLER}


@pytest.fixture
def around(tmp_path: Path) -> Iterator[neighbours.Neighbour]:
    with neighbours.neighbour_or_skip(tmp_path) as found:
        yield found


@pytest.fixture
def open_server(tmp_path: Path, runtime: str) -> Iterator[Server]:
    """A server that listens on every address of this machine."""
    if runtime == "process":
        pytest.skip("the runtime process keeps functions from nothing")
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder, runtime=runtime, options=("--host", "0.0.0.0")).start()
    yield server
    if server.process is not None and server.process.poll() is None:
        assert server.stop() == 0


def test_a_function_reaches_the_outside_and_not_its_server(
    around: neighbours.Neighbour, open_server: Server, tmp_path: Path, name: str
) -> None:
    client = open_server.client(tmp_path / "work", name)
    client.commit(FILES)
    said = client.push()
    assert "+ network" in said
    addresses = ("127.0.0.1", neighbours.HOSTS_4, "192.0.0.1")
    there = f"{neighbours.PUBLIC_4}@{neighbours.PORT}"
    targets = ",".join([there, *(f"{address}@{open_server.port}" for address in addresses)])
    answer = open_server.call(name, f"/?to={targets}")
    assert answer.json() == {neighbours.PUBLIC_4: "neighbour"} | dict.fromkeys(addresses, "refused")


@pytest.mark.parametrize("launcher_too", [False, True])
def test_nothing_that_connects_functions_outlives_a_killed_server(
    open_server: Server, tmp_path: Path, name: str, launcher_too: bool
) -> None:
    client = open_server.client(tmp_path / "work", name)
    client.commit(FILES)
    client.push()
    assert open_server.call(name, "/?to=127.0.0.1@1").json() == {"127.0.0.1": "refused"}
    process = open_server.process
    assert process is not None
    _wait(lambda: any(map(is_pasta, descendants(process.pid))))
    there = descendants(process.pid)
    if launcher_too:
        known = set(processes_with("launch_worker"))
        # The first of them: what waits for its turn has the same name.
        os.kill(next(pid for pid in there if pid in known), 9)
    open_server.kill()
    _wait(lambda: not any(map(is_pasta, there)))
    open_server.start()
    assert open_server.call(name, "/?to=127.0.0.1@1").json() == {"127.0.0.1": "refused"}


def test_where_functions_cannot_be_kept_apart_the_push_is_refused_at_the_key(
    tmp_path: Path, name: str, runtime: str
) -> None:
    if runtime == "process":
        pytest.skip("the runtime process keeps functions from nothing")
    # The users of functions must be able to pass it.
    programs = Path(tempfile.mkdtemp(prefix="clowdy-programs-"))
    programs.chmod(0o711)
    for each in Path("/usr/bin").iterdir():
        if not each.name.startswith(("pasta", "passt")):
            (programs / each.name).symlink_to(each)
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder, runtime=runtime, environment={"PATH": str(programs)}).start()
    try:
        client = server.client(tmp_path / "work", name)
        client.commit(FILES)
        said = client.push(fails=True)
        assert (
            "clowdy.yaml:2:20: error[network] network: true cannot be had on this server: passt is not installed"
            in said
        )
        assert "apt-get install passt" in said
        client.hello()
        client.push()
        assert server.call(name).status_code == 200
        found = server.api("GET", "/api/doctor").json()["findings"]
        assert [each["cure"] for each in found if each["name"] == "network"] == ["apt-get install passt"]
    finally:
        server.stop()
        shutil.rmtree(programs)


def _wait(until: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(0.02)
