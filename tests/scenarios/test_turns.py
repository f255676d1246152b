"""Pushes beside each other, pushes that lose their client, and pushes that are stopped."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from pathlib import Path

from tests.harness import HELLO, MANIFEST, Client, Server

SLOW = "import time\ntime.sleep(3)\n"


def slow(client: Client, text: str = "slow") -> str:
    """A commit whose trial start takes three seconds."""
    return client.commit({"clowdy.yaml": MANIFEST, "functions/hello.py": SLOW + HELLO.replace("Hello", text)}, text)


def wait_for_a_running_push(server: Server, name: str) -> str:
    for _ in range(200):
        answer = server.api("GET", f"/api/projects/{name}/pushes?limit=5")
        if answer.status_code == 200:
            for push in answer.json():
                if push["state"] == "running":
                    return push["id"]
        time.sleep(0.02)
    raise AssertionError("no push is running")


def test_the_second_pusher_reads_for_whom_it_waits(server: Server, client: Client, name: str, tmp_path: Path) -> None:
    client.hello()
    client.push()
    other = Client(tmp_path / "other", server.remote(name))
    other.git("pull", "-q", "clowdy", "main")
    slow(client)
    first = client.start("push", "clowdy", "main")
    wait_for_a_running_push(server, name)
    other.hello("from the other")
    output = other.push(fails=True)
    assert "waiting for" in output
    assert re.search(r"\[remote rejected\] main -> main \(fetch first: main moved while you waited for", output)
    first.communicate()
    assert first.returncode == 0
    assert server.call(name).json() == {"message": "slow"}


def test_a_push_runs_on_without_its_client_and_is_followed(server: Server, client: Client, name: str) -> None:
    client.hello()
    client.push()
    slow(client)
    first = client.start("push", "clowdy", "main")
    wait_for_a_running_push(server, name)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    output = client.push()
    assert "following" in output
    assert "already live: finished while you waited" in output
    assert server.call(name).json() == {"message": "slow"}
    assert server.call(name).headers["X-Clowdy-Release"] == "2"


def test_a_cancelled_push_moves_nothing(server: Server, client: Client, name: str) -> None:
    client.hello()
    client.push()
    slow(client)
    push = client.start("push", "clowdy", "main")
    push_id = wait_for_a_running_push(server, name)
    answer = server.api("POST", f"/api/projects/{name}/pushes/{push_id}/cancel")
    assert answer.status_code == 200, answer.text
    output, _ = push.communicate()
    assert push.returncode != 0
    assert "cancelled by" in output
    assert server.call(name).json() == {"message": "Hello"}
    assert server.api("GET", f"/api/projects/{name}/pushes/{push_id}").json()["state"] == "cancelled"


def test_going_back_waits_for_no_build_and_ends_the_build_that_it_overtakes(
    server: Server, client: Client, name: str
) -> None:
    client.hello("one")
    client.push()
    client.hello("two")
    client.push()
    client.git("fetch", "-q", "clowdy")
    slow(client)
    push = client.start("push", "clowdy", "main")
    wait_for_a_running_push(server, name)
    began = time.monotonic()
    client.push("deploy/1:live")
    assert time.monotonic() - began < 2.5
    output, _ = push.communicate()
    assert push.returncode != 0
    assert "live moved to deploy/1" in output
    assert "push again to replace it" in output
    assert server.call(name).json() == {"message": "one"}
    client.push()
    assert server.call(name).json() == {"message": "slow"}


def test_a_stopping_server_refuses_what_has_not_begun_to_move(own_server: Server, tmp_path: Path, name: str) -> None:
    client = own_server.client(tmp_path / "work", name)
    client.hello()
    client.push()
    slow(client)
    push = client.start("push", "clowdy", "main")
    wait_for_a_running_push(own_server, name)
    assert own_server.stop() == 0
    output, _ = push.communicate()
    assert push.returncode != 0
    assert "the server is stopping: push again" in output


def test_every_request_is_served_during_deploys_and_rollbacks(server: Server, client: Client, name: str) -> None:
    client.hello("0")
    client.push()
    stop = threading.Event()
    bad: list[str] = []

    def load() -> None:
        while not stop.is_set():
            answer = server.call(name)
            if answer.status_code != 200:
                bad.append(answer.text)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(1, 6):
            client.hello(str(number))
            client.push()
        client.git("fetch", "-q", "clowdy")
        client.push("deploy/2:live")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert bad == []
    assert server.call(name).json() == {"message": "1"}


def test_two_first_pushes_of_one_name_make_one_project(server: Server, tmp_path: Path, name: str) -> None:
    clients = [server.client(tmp_path / str(number), name) for number in range(2)]
    for number, client in enumerate(clients):
        client.hello(str(number))
    pushes = [client.start("push", "clowdy", "main") for client in clients]
    outputs = [push.communicate()[0] for push in pushes]
    assert sorted(push.returncode != 0 for push in pushes) in ([False, True], [False, False]), outputs
    assert len([p for p in server.api("GET", "/api/projects").json() if p["name"] == name]) == 1
    assert server.call(name).status_code == 200
