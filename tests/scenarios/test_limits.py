"""What callers get where functions are many, slow or greedy, and memory is little."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests import harness
from tests.harness import Client, Server

STATEFUL = """
import time
BORN = time.time()
def handler(event):
    time.sleep(float(event["query"].get("s", "0")))
    return BORN
"""
GREEDY = """
import time
def handler(event):
    time.sleep(0.2)
    raise MemoryError
"""
ENDLESS = """
def handler(event):
    kept = []
    while True:
        kept.append(bytearray(b"x") * (8 << 20))
"""
ANSWERS = "def handler(event):\n    return 1\n"


def deploy(client: Client, functions: dict[str, str], sources: dict[str, str]) -> None:
    """One project with these functions, each with its options and a route of its name."""
    lines = ["functions:", *(f"  {name}: {{{options}}}" for name, options in functions.items())]
    lines += ["routes:", *(f"  GET /{name}: {name}" for name in functions)]
    client.commit(
        {"clowdy.yaml": "\n".join(lines) + "\n"} | {f"functions/{name}.py": text for name, text in sources.items()}
    )
    client.push()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, runtime: str, surroundings: Mapping[str, str]) -> Iterator[Server]:
    """A server with room for three instances of 64 MB, where nobody waits long."""
    server = Server(
        tmp_path_factory.mktemp("small"),
        runtime=runtime,
        environment={**surroundings, "CLOWDY_WAIT": "1", "CLOWDY_WAITERS": "3"},
        options=("--memory-budget", "200MB"),
    ).start()
    functions = dict.fromkeys(("one", "two", "three", "four"), "memory: 64MB")
    sources = dict.fromkeys(functions, STATEFUL)
    deploy(server.client(server.folder / "work", "small"), functions, sources)
    yield server
    assert server.stop() == 0, server.log


def born(server: Server, name: str) -> float:
    answer = server.call("small", f"/{name}")
    assert answer.status_code == 200, answer.text
    return float(answer.text)


def test_the_least_recently_used_instance_makes_room(small: Server) -> None:
    before = {name: born(small, name) for name in ("one", "two", "three")}
    born(small, "four")

    assert born(small, "two") == before["two"]
    assert born(small, "three") == before["three"]
    assert born(small, "one") != before["one"]


def test_without_memory_callers_wait_and_are_then_told_to_come_back(small: Server) -> None:
    with ThreadPoolExecutor(4) as callers:
        busy = [callers.submit(small.call, "small", f"/{name}?s=3") for name in ("one", "two", "three")]
        time.sleep(0.8)
        began = time.monotonic()
        refused = small.call("small", "/four")
        waited = time.monotonic() - began
        assert [call.result().status_code for call in busy] == [200] * 3

    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    assert waited >= 0.9
    assert small.api("GET", f"/api/invocations/{refused.headers['X-Request-Id']}").json()["http_status"] == 503
    assert small.call("small", "/four").status_code == 200


def test_callers_beyond_concurrency_wait_and_those_beyond_the_queue_do_not(small: Server, tmp_path: Path) -> None:
    deploy(small.client(tmp_path / "work", "queue"), {"slow": "concurrency: 1, memory: 64MB"}, {"slow": STATEFUL})

    def ask(seconds: float) -> tuple[httpx.Response, float]:
        began = time.monotonic()
        answer = small.call("queue", f"/slow?s={seconds}")
        return answer, time.monotonic() - began

    assert ask(0)[0].status_code == 200
    with ThreadPoolExecutor(8) as callers:
        first = callers.submit(ask, 3)
        time.sleep(0.3)
        others = [call.result() for call in [callers.submit(ask, 0) for _ in range(6)]]
        assert first.result()[0].status_code == 200

    assert {answer.status_code for answer, _ in others} == {429}
    assert all(answer.json()["code"] == "busy" and int(answer.headers["Retry-After"]) > 0 for answer, _ in others)
    assert sum(waited >= 0.9 for _, waited in others) == 3
    rows = small.api("GET", "/api/projects/queue/invocations").json()
    assert [row["code"] for row in rows].count("busy") == 6
    assert ask(0)[0].status_code == 200


def test_one_that_runs_out_of_memory_leaves_the_next_in_the_queue_to_another(small: Server, tmp_path: Path) -> None:
    deploy(small.client(tmp_path / "work", "greedy"), {"greedy": "concurrency: 1, memory: 64MB"}, {"greedy": GREEDY})

    with ThreadPoolExecutor(3) as callers:
        answers = list(callers.map(lambda _: small.call("greedy", "/greedy"), range(3)))

    assert {answer.json()["code"] for answer in answers} == {"out_of_memory"}


def test_half_a_second_is_a_timeout(small: Server, tmp_path: Path) -> None:
    deploy(small.client(tmp_path / "work", "hasty"), {"hasty": "timeout: 500ms, memory: 64MB"}, {"hasty": STATEFUL})

    answer = small.call("hasty", "/hasty?s=5")

    assert (answer.status_code, answer.json()["code"]) == (504, "timeout")
    assert answer.json()["detail"] == "Function timed out after 0.5 seconds"
    assert small.call("hasty", "/hasty").status_code == 200


def test_more_memory_than_there_is_is_a_problem_of_the_push(small: Server, tmp_path: Path) -> None:
    client = small.client(tmp_path / "work", "giant")
    client.commit({"clowdy.yaml": "functions:\n  giant: {memory: 256MB}\n", "functions/giant.py": ANSWERS})
    assert "clowdy.yaml:2:19: error[memory]" in client.push(fails=True)
    client.commit({"clowdy.yaml": "functions:\n  giant: {memory: 100MB, min_warm: 3}\n"})
    assert "error[min-warm]" in client.push(fails=True)


ORDINARY = 1000


@pytest.fixture
def ordinary(tmp_path: Path, runtime: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of an ordinary user, who can write no control group."""
    setpriv = shutil.which("setpriv")
    if runtime != "sandbox" or os.geteuid() != 0 or setpriv is None:
        pytest.skip("needs root, to become an ordinary user, and the sandbox")
    become = [setpriv, f"--reuid={ORDINARY}", f"--regid={ORDINARY}", "--clear-groups"]
    if subprocess.run([*become, harness.CLOWDY, "--help"], capture_output=True, check=False).returncode:
        pytest.skip("an ordinary user cannot read this checkout")
    command = tmp_path / "clowdy"
    command.write_text(f'#!/bin/sh\nexec {" ".join(become)} {harness.CLOWDY} "$@"\n')
    command.chmod(0o755)
    monkeypatch.setattr(harness, "CLOWDY", command)
    # Not below pytest's own folder, which is closed to others.
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, ORDINARY, ORDINARY)
        server = Server(Path(folder), runtime=runtime).start()
        yield server
        assert server.stop() == 0, server.log


def test_without_control_groups_memory_is_watched_and_the_server_says_so(ordinary: Server, tmp_path: Path) -> None:
    assert ordinary.log.count("systemd-run --user --scope -p Delegate=yes make run") == 1
    found = ordinary.api("GET", "/api/doctor").json()["findings"]
    limits = {finding["found"]: finding["state"] for finding in found if finding["name"] == "limit"}
    assert limits["memory is watched every 100 ms"] == "ok"
    assert limits["cpu: does not hold here"] == "warning"

    deploy(ordinary.client(tmp_path / "work", "watched"), {"hog": "", "fine": ""}, {"hog": ENDLESS, "fine": ANSWERS})
    answer = ordinary.call("watched", "/hog")
    assert (answer.status_code, answer.json()["code"]) == (502, "out_of_memory")
    assert ordinary.call("watched", "/fine").json() == 1
