"""What comes in between: a cancel at any stage, a client that sleeps, a rename, a deletion, a new secret value."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.harness import HELLO, MANIFEST, Client, Server

SLOW = "import time\ntime.sleep(2)\n"


def slow(client: Client, text: str = "slow") -> str:
    """A commit whose trial start takes two seconds."""
    return client.commit({"clowdy.yaml": MANIFEST, "functions/hello.py": SLOW + HELLO.replace("Hello", text)}, text)


def running(server: Server, name: str, count: int = 1) -> list[str]:
    """The ids of the pushes at work, as soon as there are so many, oldest first."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        answer = server.api("GET", f"/api/projects/{name}/pushes?limit=9")
        found = [push["id"] for push in answer.json() if push["state"] == "running"] if answer.is_success else []
        if len(found) >= count:
            return found[::-1]
        time.sleep(0.02)
    raise AssertionError("no such push is running")


def outcome(push: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = push.communicate(timeout=60)
    return push.returncode, output


def test_a_push_cancelled_while_it_waits_leaves_the_queue_whole(
    server: Server, client: Client, name: str, tmp_path: Path
) -> None:
    client.hello()
    client.push()
    slow(client)
    first = client.start("push", "clowdy", "main")
    running(server, name)
    other = server.client(tmp_path / "other", name)
    other.git("pull", "-q", "clowdy", "main")
    other.hello("never")
    second = other.start("push", "-o", "format=json", "clowdy", "main")
    _, waiting = running(server, name, 2)
    assert server.api("POST", f"/api/projects/{name}/pushes/{waiting}/cancel").status_code == 200
    code, output = outcome(second)
    assert code != 0
    assert '{"type": "done", "ok": false' in output
    assert "cancelled by admin" in output
    assert outcome(first)[0] == 0
    assert server.call(name).json() == {"message": "slow"}
    client.hello("next")
    client.push()
    assert server.call(name).json() == {"message": "next"}


@pytest.mark.parametrize("stage", ["trial", "checks"])
def test_a_push_cancelled_at_work_leaves_nothing(server: Server, client: Client, name: str, stage: str) -> None:
    client.hello()
    client.push()
    before = client.git("ls-remote", "clowdy")
    if stage == "trial":
        slow(client)
    else:
        sleeping = "import time\ndef handler(event):\n    time.sleep(5)\n    return {}\n"
        checks = "checks:\n  - {request: GET /}\n"
        client.commit({"clowdy.yaml": MANIFEST + checks, "functions/hello.py": sleeping})
    push = client.start("push", "clowdy", "main")
    running(server, name)
    time.sleep(0.5)
    assert server.api("POST", f"/api/projects/{name}/cancel").status_code == 200
    assert outcome(push)[0] != 0
    assert client.git("ls-remote", "clowdy") == before
    client.commit({"clowdy.yaml": MANIFEST, "functions/hello.py": HELLO.replace("Hello", "after")})
    client.push()
    assert server.call(name).headers["X-Clowdy-Release"] == "2"
    assert server.call(name).json() == {"message": "after"}


def test_a_client_that_sleeps_keeps_nobody_waiting(server: Server, client: Client, name: str, tmp_path: Path) -> None:
    client.hello()
    client.push()
    flood = "for number in range(20_000):\n    print('x' * 100)\n"
    client.commit({"functions/hello.py": flood + HELLO.replace("Hello", "flood")})
    push = client.start("push", "clowdy", "main")
    try:
        running(server, name)
        os.killpg(push.pid, signal.SIGSTOP)
        other = server.client(tmp_path / "other", name)
        other.git("fetch", "-q", "clowdy")
        deadline = time.monotonic() + 10
        while server.call(name).json() != {"message": "flood"}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        other.git("pull", "-q", "clowdy", "main")
        other.commit({"functions/hello.py": HELLO.replace("Hello", "other")})
        other.push()
        assert server.call(name).json() == {"message": "other"}
    finally:
        os.killpg(push.pid, signal.SIGKILL)
        push.communicate()


def test_pushes_of_two_projects_wait_for_nobody(server: Server, client: Client, name: str, tmp_path: Path) -> None:
    client.hello()
    client.push()
    slow(client)
    push = client.start("push", "clowdy", "main")
    running(server, name)
    other = server.client(tmp_path / "other", f"{name}-b")
    other.hello()
    assert "waiting" not in other.push()
    assert running(server, name)
    assert outcome(push)[0] == 0


def test_a_plan_waits_for_no_build(server: Server, client: Client, name: str) -> None:
    client.hello()
    client.push()
    slow(client)
    push = client.start("push", "clowdy", "main")
    running(server, name)
    client.hello("planned")
    output = client.push("HEAD:refs/heads/main", options=["plan"], fails=True)
    assert "waiting" not in output
    assert "(plan only, nothing changed)" in output
    assert running(server, name)
    assert outcome(push)[0] == 0


def test_a_project_renamed_while_a_push_builds_answers_under_its_new_name(
    server: Server, client: Client, name: str
) -> None:
    client.hello()
    client.push()
    slow(client)
    push = client.start("push", "clowdy", "main")
    running(server, name)
    assert server.api("PUT", f"/api/projects/{name}", json={"slug": f"{name}-new"}).status_code == 200
    code, output = outcome(push)
    assert code == 0, output
    assert server.call(f"{name}-new").json() == {"message": "slow"}
    assert server.call(name).json() == {"message": "slow"}
    assert server.api("GET", f"/api/projects/{name}").json()["name"] == f"{name}-new"


def test_a_project_deleted_while_a_push_builds_stays_deleted(server: Server, client: Client, name: str) -> None:
    client.hello()
    client.push()
    slow(client)
    push = client.start("push", "clowdy", "main")
    running(server, name)
    assert server.api("DELETE", f"/api/projects/{name}?confirm={name}").status_code == 200
    code, output = outcome(push)
    assert code != 0
    assert "was deleted" in output
    assert server.call(name).status_code == 404
    assert server.api("POST", f"/api/projects/{name}/restore").status_code == 200
    assert server.call(name).json() == {"message": "Hello"}
    client.push()
    assert server.call(name).json() == {"message": "slow"}


def test_a_secret_that_changes_while_a_push_builds_is_the_new_one(server: Server, client: Client, name: str) -> None:
    manifest = MANIFEST + "env:\n  TOKEN: {secret: true}\n"
    shows = "import os\ndef handler(event):\n    return os.environ['TOKEN'][-3:]\n"
    server.api("PUT", f"/api/projects/{name}/secrets/TOKEN", json={"value": "the-value-one"})
    client.commit({"clowdy.yaml": manifest, "functions/hello.py": shows})
    client.push()
    client.commit({"functions/hello.py": SLOW + shows})
    push = client.start("push", "clowdy", "main")
    running(server, name)
    server.api("PUT", f"/api/projects/{name}/secrets/TOKEN", json={"value": "the-value-two"})
    assert server.call(name).text == "two"
    code, output = outcome(push)
    assert code == 0, output
    assert server.call(name).headers["X-Clowdy-Release"] == "2"
    assert server.call(name).text == "two"


def test_the_record_of_a_hostile_push_is_kept(server: Server, client: Client, name: str) -> None:
    client.hello()
    client.push()
    deep = "/".join("d" * 1 for _ in range(120)) + "/file"
    client.commit({deep: "x"})
    assert "100" in client.push(fails=True)
    newest = server.api("GET", f"/api/projects/{name}/pushes?all=1").json()[0]
    assert newest["state"] == "refused"
    assert "100" in server.api("GET", f"/api/projects/{name}/pushes/{newest['id']}").json()["output"]
