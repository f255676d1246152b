"""What a server does when its Docker Engine fails it, and that it heals without being told."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.engine import PrivateEngine, make_base_image, start_or_skip
from tests.harness import Client, Server

SLEEPS = """
import time
def handler(event):
    time.sleep(float(event["query"].get("s", 0)))
"""


@pytest.fixture(scope="module")
def engine_of_its_own() -> Iterator[PrivateEngine]:
    """An engine that these tests may do to what they like."""
    engine = start_or_skip(PrivateEngine())
    make_base_image(engine)
    yield engine
    engine.stop()


@pytest.fixture
def docker_server(engine_of_its_own: PrivateEngine, tmp_path: Path) -> Iterator[Server]:
    server = serve(engine_of_its_own, tmp_path)
    yield server
    if server.process is not None and server.process.poll() is None:
        assert server.stop() == 0, server.log


def serve(engine: PrivateEngine, tmp_path: Path) -> Server:
    folder = tmp_path / "server"
    folder.mkdir()
    return Server(folder, runtime="docker", environment={"DOCKER_HOST": engine.url}).start()


def containers(engine: PrivateEngine) -> list[str]:
    return engine.docker("ps", "--all", "--quiet")


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def answers(server: Server, name: str) -> bool:
    return server.call(name).status_code == 200


def test_an_engine_that_is_down_at_the_start_is_told_everywhere_and_waited_for(
    engine_of_its_own: PrivateEngine, tmp_path: Path, name: str
) -> None:
    server = serve(engine_of_its_own, tmp_path)
    client = server.client(tmp_path / "work", name)
    client.hello("one")
    client.push()
    assert server.stop() == 0
    engine_of_its_own.terminate()
    server.start()
    assert "Docker Engine" in server.log
    refused = server.call(name)
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    client.hello("two")
    said = client.push(fails=True)
    assert "Docker Engine" in said
    assert "Cure" in said or "docker" in said
    engine_of_its_own.restart()
    until(lambda: answers(server, name))
    assert server.call(name).json() == {"message": "one"}
    client.push()
    assert server.call(name).json() == {"message": "two"}
    assert server.stop() == 0
    assert containers(engine_of_its_own) == []


def test_an_engine_that_is_killed_in_the_middle_of_traffic_comes_back_and_so_do_functions(
    docker_server: Server, engine_of_its_own: PrivateEngine, tmp_path: Path, name: str
) -> None:
    client = docker_server.client(tmp_path / "work", name)
    client.hello()
    client.push()
    stop = threading.Event()
    seen: list[tuple[float, int, str]] = []

    def load() -> None:
        with httpx.Client(base_url=docker_server.url, timeout=30) as http:
            while not stop.is_set():
                answer = http.get(f"/api/gateway/{name}/")
                seen.append((time.monotonic(), answer.status_code, answer.headers.get("Retry-After", "")))

    callers = [threading.Thread(target=load) for _ in range(4)]
    for caller in callers:
        caller.start()
    until(lambda: len(seen) > 50)
    engine_of_its_own.kill()
    killed = time.monotonic()
    time.sleep(1)
    down = [code for at, code, _ in seen if killed < at]
    # What runs goes on: containers outlive their engine, and a call does not go through it.
    assert set(down) == {200}
    engine_of_its_own.restart()
    back = time.monotonic()
    until(lambda: any(at > back and code == 200 for at, code, _ in seen), 10)
    time.sleep(1)
    stop.set()
    for caller in callers:
        caller.join()
    codes = Counter(code for _, code, _ in seen)
    # An engine without live-restore ends what it finds running: the calls in it are cut.
    assert set(codes) <= {200, 502, 503}
    assert all(later for _, code, later in seen if code == 503)
    assert docker_server.call(name).status_code == 200
    assert docker_server.stop() == 0
    assert containers(engine_of_its_own) == []


def test_calls_that_need_a_new_container_are_refused_while_the_engine_is_down(
    docker_server: Server, engine_of_its_own: PrivateEngine, tmp_path: Path, name: str
) -> None:
    client = docker_server.client(tmp_path / "work", name)
    client.commit(
        {
            "clowdy.yaml": "functions:\n  hello: {timeout: 1}\nroutes:\n  GET /: hello\n",
            "functions/hello.py": SLEEPS,
        }
    )
    client.push()
    engine_of_its_own.kill()
    # Its time is up: it is killed without the engine's help.
    assert docker_server.call(name, "/?s=60").json()["code"] == "timeout"
    until(lambda: docker_server.call(name, "/?s=60").status_code == 503)
    shown = docker_server.api("GET", "/api/doctor").json()
    assert any("Docker Engine" in finding["found"] for finding in shown["findings"] if finding["state"] == "missing")
    engine_of_its_own.restart()
    until(lambda: answers(docker_server, name))
    assert docker_server.stop() == 0
    assert containers(engine_of_its_own) == []


def test_an_engine_that_hangs_holds_up_no_warm_call(
    docker_server: Server, engine_of_its_own: PrivateEngine, tmp_path: Path, name: str
) -> None:
    client = docker_server.client(tmp_path / "work", name)
    client.hello()
    client.push()
    assert answers(docker_server, name)
    engine_of_its_own.pause()
    began = time.monotonic()
    for _ in range(20):
        assert answers(docker_server, name)
    assert time.monotonic() - began < 5
    engine_of_its_own.resume()
    client.hello("two")
    client.push()
    assert docker_server.call(name).json() == {"message": "two"}


def test_images_that_are_removed_behind_the_server_are_made_again(
    docker_server: Server, engine_of_its_own: PrivateEngine, tmp_path: Path, name: str
) -> None:
    client = docker_server.client(tmp_path / "work", name)
    client.hello("one")
    client.push()
    engine_of_its_own.docker("rm", "--force", *containers(engine_of_its_own))
    engine_of_its_own.docker("system", "prune", "--all", "--force")
    assert engine_of_its_own.docker("images", "--all", "--quiet") == []
    until(lambda: answers(docker_server, name))
    client.hello("two")
    client.push()
    assert docker_server.call(name).json() == {"message": "two"}


def test_a_server_that_is_killed_leaves_containers_that_the_next_one_removes(
    docker_server: Server, engine_of_its_own: PrivateEngine, tmp_path: Path, name: str
) -> None:
    client: Client = docker_server.client(tmp_path / "work", name)
    client.hello()
    client.push()
    before = set(containers(engine_of_its_own))
    assert before
    docker_server.kill()
    docker_server.start()
    assert answers(docker_server, name)
    assert not before & set(containers(engine_of_its_own))
    assert docker_server.stop() == 0
    assert containers(engine_of_its_own) == []
    assert "clowdy-" not in " ".join(engine_of_its_own.docker("network", "ls", "--format", "{{.Name}}"))
