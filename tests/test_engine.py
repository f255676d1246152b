from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest
from docker.errors import APIError
from pip._internal.models.index import PyPI

from clowdy.runtimes.layers.pip_settings import find_index
from tests.engine import PrivateEngine, leftovers, start_or_skip

pytestmark = [pytest.mark.slow]

Start = Callable[..., PrivateEngine]
_PYTHON = next(path for path in ("/usr/bin/python3", os.path.realpath(sys.executable)) if os.path.exists(path))
_SOCKETS = Path("/run/containerd/s")
_CONNECT = """
import socket, ssl, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
if sys.argv[2] == "443":
    ssl._create_unverified_context().wrap_socket(connection)
"""
_START = (
    "import os, time; from tests.engine import PrivateEngine; engine = PrivateEngine().start();"
    "print(engine.folder, os.readlink(f'/proc/{engine.pid}/ns/net'), flush=True); time.sleep(60)"
)


@contextmanager
def _client(engine: PrivateEngine) -> Iterator[docker.APIClient]:
    client = docker.APIClient(engine.url, version="auto", timeout=60)
    try:
        yield client
    finally:
        client.close()


def _import_image(client: docker.APIClient, size: int = 0) -> None:
    """The image `borrowed`, without programs of its own: its containers have those of this machine."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for path in ("bin", "lib", "lib64"):
            if os.path.islink(f"/{path}"):
                link = tarfile.TarInfo(path)
                link.type, link.linkname = tarfile.SYMTYPE, os.readlink(f"/{path}")
                tar.addfile(link)
        file = tarfile.TarInfo("file")
        file.size = size
        tar.addfile(file, io.BytesIO(os.urandom(size)))
    client.import_image_from_data(content.getvalue(), repository="borrowed")


def _start(client: docker.APIClient, *command: str, network: str = "none") -> str:
    _import_image(client)
    binds = [f"{path}:{path}:ro" for path in ("/usr", "/bin", "/lib", "/lib64") if not os.path.islink(path)]
    config = client.create_host_config(binds=binds, network_mode=network, init=True)
    container: str = client.create_container("borrowed", [*command], host_config=config)["Id"]
    client.start(container)
    return container


def _run(client: docker.APIClient, *command: str, network: str = "none") -> str:
    """What the command printed in a container of its own, once it has succeeded."""
    container = _start(client, *command, network=network)
    status = client.wait(container)["StatusCode"]
    said: str = client.logs(container).decode()
    client.remove_container(container, force=True)
    assert status == 0, said
    return said


def _address(client: docker.APIClient, container: str) -> str:
    found: str = client.inspect_container(container)["NetworkSettings"]["IPAddress"]
    return found


def _namespace(engine: PrivateEngine) -> str:
    return os.readlink(f"/proc/{engine.pid}/ns/net")


def _reachable_indexes() -> list[tuple[str, int]]:
    found = []
    for host, port in dict.fromkeys((*find_index(os.environ).hosts, (PyPI.netloc, 443))):
        try:
            address = str(socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
            socket.create_connection((address, port), 10).close()
        except OSError:
            continue
        # A machine's loopback is no other's.
        if not address.startswith("127."):
            found.append((host, port))
    return found


def test_containers_run_with_every_limit(engine: PrivateEngine) -> None:
    with _client(engine) as client:
        assert not client.info()["Warnings"]
        assert _run(client, "/usr/bin/echo", "hello") == "hello\n"


@pytest.mark.parametrize("network", ["bridge", "host"])
def test_containers_reach_the_package_index_of_this_machine(engine: PrivateEngine, network: str) -> None:
    indexes = _reachable_indexes()
    if not indexes:
        pytest.skip("this machine reaches no package index over IPv4")
    assert engine.connected, engine.log
    with _client(engine) as client:
        for host, port in indexes:
            _run(client, _PYTHON, "-I", "-c", _CONNECT, host, str(port), network=network)


def test_without_a_way_out_containers_run_all_the_same(start_engine: Start) -> None:
    engine = start_engine(way_out=False)
    assert not engine.connected
    with _client(engine) as client:
        assert _run(client, "/usr/bin/echo", "hello", network="bridge") == "hello\n"
        container = _start(client, _PYTHON, "-I", "-c", _CONNECT, "192.0.2.1", "80", network="bridge")
        assert client.wait(container)["StatusCode"] == 1
        assert "unreachable" in client.logs(container).decode()


def test_two_engines_do_not_see_each_other(engine: PrivateEngine, start_engine: Start) -> None:
    other = start_engine()
    assert _namespace(engine) != _namespace(other) != os.readlink("/proc/self/ns/net")
    with _client(engine) as first, _client(other) as second:
        containers = [_start(client, "/usr/bin/sleep", "60", network="bridge") for client in (first, second)]
        assert [each["Id"] for each in second.containers()] == containers[1:]
        # Each has a bridge of its own: on one the addresses would differ.
        assert _address(first, containers[0]) == _address(second, containers[1]) != ""
        first.remove_container(containers[0], force=True)


def test_after_a_kill_it_comes_back_in_the_same_namespaces(start_engine: Start) -> None:
    engine = start_engine("--live-restore")
    namespace, pid = _namespace(engine), engine.pid
    with _client(engine) as client:
        container = _start(client, "/usr/bin/sleep", "60")
        before = client.inspect_container(container)["State"]
        engine.kill()
        assert not engine.answers
        engine.restart()
        assert client.inspect_container(container)["State"] == before
        assert before["Running"]
    assert (_namespace(engine), engine.pid) == (namespace, pid)


def test_a_terminated_engine_is_gone_until_its_restart(start_engine: Start) -> None:
    engine = start_engine()
    engine.terminate()
    assert not engine.running
    assert not engine.answers
    engine.restart()
    assert engine.answers


def test_a_paused_engine_answers_once_it_is_resumed(start_engine: Start) -> None:
    engine = start_engine()
    engine.pause()
    assert not engine.answers
    assert engine.running
    engine.resume()
    assert engine.answers


def test_a_size_limit_ends_in_a_full_disk(start_engine: Start) -> None:
    engine = start_engine(data_size="64m")
    with _client(engine) as client:
        with pytest.raises(APIError, match="no space left on device"):
            _import_image(client, 100 * 1024 * 1024)
        assert _run(client, "/usr/bin/echo", "hello") == "hello\n"


def test_a_stop_leaves_nothing_of_what_ran(start_engine: Start) -> None:
    engine = start_engine()
    folder, namespace = engine.folder, _namespace(engine)
    with _client(engine) as client:
        _start(client, "/usr/bin/sleep", "60", network="bridge")
    there = leftovers(folder, namespace)
    assert any("sleep" in each for each in there)
    assert any("control group" in each for each in there)
    # What containerd leaves behind lies outside of the folder; the machine's own is not to see it.
    sockets = [path.name for path in Path(f"/proc/{engine.pid}/root{_SOCKETS}").iterdir()]
    assert sockets
    assert not [name for name in sockets if (_SOCKETS / name).exists()]
    engine.stop()
    assert leftovers(folder, namespace) == []
    assert "API listen on" in engine.log


def test_it_goes_with_a_starter_that_is_killed(engine: PrivateEngine) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", _START], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent
    )
    with starter:
        assert starter.stdout is not None
        folder, namespace = starter.stdout.readline().split()
        assert leftovers(Path(folder), namespace)
        starter.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (left := leftovers(Path(folder), namespace)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def test_where_it_cannot_run_a_test_is_skipped_but_fails_in_continuous_integration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs root"):
        start_or_skip(PrivateEngine())
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs root"):
        start_or_skip(PrivateEngine())
