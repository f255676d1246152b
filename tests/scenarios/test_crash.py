"""kill -9 at any moment leaves the old release or the new one, whole."""

from __future__ import annotations

import json
import threading
import time

from tests.harness import Client, Server


def _state(server: Server, client: Client, name: str) -> tuple[str, str, int]:
    """What is served, what `live` says, and the release; asserts that they agree with each other."""
    answer = server.call(name)
    assert answer.status_code == 200, answer.text
    release = int(answer.headers["X-Clowdy-Release"])
    refs = dict(reversed(line.split("\t")) for line in client.git("ls-remote", "clowdy").splitlines())
    live = refs["refs/heads/live"]
    assert refs[f"refs/tags/deploy/{release}^{{}}"] == live
    message = answer.json()["message"]
    assert client.git("log", "-1", "--format=%s", live).strip() == message
    shown = server.api("GET", f"/api/projects/{name}").json()["live"]
    assert (shown["release"], shown["commit"]) == (release, live)
    return message, live, release


def test_a_killed_server_comes_back_with_the_old_or_the_new_release(own_server: Server, tmp_path, name: str) -> None:
    client = own_server.client(tmp_path / "work", name)
    client.hello("0")
    client.push()
    for number in range(1, 13):
        client.hello(str(number))
        push = client.start("push", "clowdy", "main")
        time.sleep(0.025 * number)
        own_server.kill()
        push.communicate(timeout=60)
        own_server.start()
        message, _, _ = _state(own_server, client, name)
        assert message in (str(number), str(number - 1))
        client.git("fetch", "-q", "clowdy")
        client.git("push", "clowdy", "main:live")
        message, live, _ = _state(own_server, client, name)
        assert message == str(number)
        assert live == client.git("rev-parse", "HEAD").strip()
        main = client.git("ls-remote", "clowdy", "refs/heads/main").split()[0]
        if main != live:
            client.push()


def test_a_server_killed_while_it_goes_back_serves_one_release_whole(own_server: Server, tmp_path, name: str) -> None:
    client = own_server.client(tmp_path / "work", name)
    for text in ("one", "two"):
        client.hello(text)
        client.push()
    client.git("fetch", "-q", "clowdy")
    for number in range(6):
        push = client.start("push", "clowdy", f"deploy/{1 + number % 2}:live")
        time.sleep(0.03 + 0.012 * number)
        own_server.kill()
        push.communicate(timeout=60)
        own_server.start()
        message, _, release = _state(own_server, client, name)
        assert message == ("one", "two")[release - 1]
        history = own_server.api("GET", f"/api/projects/{name}/history").json()
        assert history[0]["release"] == release


def test_the_database_can_be_rebuilt_from_git_alone(own_server: Server, tmp_path, name: str) -> None:
    client = own_server.client(tmp_path / "work", name)
    client.hello("one")
    client.push()
    client.hello("two")
    client.push()
    client.git("fetch", "-q", "clowdy")
    client.push("deploy/1:live")
    before = {
        path: own_server.api("GET", f"/api/projects/{name}/{path}").json()
        for path in ("functions", "releases", "history")
    }
    assert own_server.stop() == 0
    for file in own_server.data.glob("clowdy.db*"):
        file.unlink()
    own_server.start()
    assert own_server.api("GET", f"/api/projects/{name}").status_code == 404
    assert own_server.api("POST", "/api/reconcile").status_code == 200
    assert own_server.call(name).json() == {"message": "one"}
    after = {
        path: own_server.api("GET", f"/api/projects/{name}/{path}").json()
        for path in ("functions", "releases", "history")
    }
    assert [item["id"] for item in after["functions"]] == [item["id"] for item in before["functions"]]
    assert [item["version"] for item in after["functions"]] == [item["version"] for item in before["functions"]]
    assert [item["release"] for item in after["releases"]] == [2, 1]
    assert after["history"] == before["history"]


def test_every_answered_call_is_in_the_log_after_a_kill(own_server: Server, tmp_path, name: str) -> None:
    client = own_server.client(tmp_path / "work", name)
    client.hello()
    client.push()
    ids = {own_server.call(name).headers["X-Request-Id"] for _ in range(40)}
    own_server.kill()
    own_server.start()
    rows = own_server.api("GET", f"/api/projects/{name}/invocations?limit=100").json()
    assert ids <= {row["id"] for row in rows}


def test_one_server_for_each_data_directory(own_server: Server) -> None:
    second = Server(own_server.folder, runtime=own_server.runtime)
    try:
        second.start()
    except AssertionError as error:
        assert "another" in str(error) or "held" in str(error) or "already" in str(error)
    else:
        second.stop()
        raise AssertionError("a second server serves the same data directory")


def test_a_stopping_server_finishes_its_calls(own_server: Server, tmp_path, name: str) -> None:
    client = own_server.client(tmp_path / "work", name)
    client.commit(
        {
            "clowdy.yaml": "functions:\n  slow: {}\nroutes:\n  GET /: slow\n",
            "functions/slow.py": "import time\ndef handler(event):\n    time.sleep(1.5)\n    return 'done'\n",
        }
    )
    client.push()
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(own_server.call(name).text))
    thread.start()
    time.sleep(0.5)
    assert own_server.stop() == 0
    thread.join()
    assert answers == ["done"]


def test_history_json_is_whole(own_server: Server, tmp_path, name: str) -> None:
    client = own_server.client(tmp_path / "work", name)
    client.hello()
    client.push()
    history = own_server.api("GET", f"/api/projects/{name}/history").json()
    assert json.dumps(history)
    assert history[0]["release"] == 1
    assert history[0]["before"] is None
