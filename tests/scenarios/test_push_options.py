"""Push options: a plan changes nothing, JSON is JSON to the last line, `redeploy` starts again what is there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness import HELLO, MANIFEST, Client, Server


def said(output: str) -> list[dict[str, Any]]:
    """What the server said to a push with `format=json`: every line is an object, and the last one is `done`."""
    lines = [line.removeprefix("remote:").strip() for line in output.splitlines() if line.startswith("remote:")]
    objects = [json.loads(line) for line in lines if line]
    assert {item["type"] for item in objects} <= {"plan", "problem", "progress", "switched", "done"}
    assert [item["type"] for item in objects].count("done") == 1, output
    assert objects[-1]["type"] == "done", output
    return objects


@pytest.fixture
def twice(client: Client) -> Client:
    """A project with two releases, the second live."""
    client.hello("one")
    client.push()
    client.hello("two")
    client.push()
    client.git("fetch", "-q", "clowdy")
    return client


@pytest.mark.parametrize(
    ("refs", "options", "fails", "ok"),
    [
        (["deploy/1:live"], [], False, True),
        (["deploy/2:live"], [], False, True),
        (["main:live"], ["redeploy"], False, True),
        (["deploy/1:live"], ["plan"], True, True),
        (["HEAD:refs/heads/feature"], [], False, True),
        (["HEAD:refs/heads/feature"], ["plan"], True, False),
        (["HEAD:refs/tags/deploy/9"], [], True, False),
        ([":live"], [], True, False),
        ([":main"], [], True, False),
        (["main:live"], ["paln"], True, False),
        (["main:live"], ["upgrade"], False, True),
        (["--atomic", "HEAD:refs/notes/x", "HEAD:refs/tags/x"], [], True, False),
    ],
)
def test_every_ending_is_json(twice: Client, refs: list[str], options: list[str], fails: bool, ok: bool) -> None:
    output = twice.push(*refs, options=["format=json", *options], fails=fails)
    assert said(output)[-1]["ok"] is ok


def test_deploys_problems_warnings_and_failed_starts_are_json(client: Client) -> None:
    client.hello()
    kinds = [item["type"] for item in said(client.push(options=["format=json"]))]
    assert "plan" in kinds
    assert kinds[-2:] == ["switched", "done"]
    client.commit({"functions/hello.py": "print('x' * 3)\nimport nowhere\n" + HELLO})
    failed = said(client.push(options=["format=json"], fails=True))
    assert [item["code"] for item in failed if item["type"] == "problem"] == ["start-failed"]
    client.commit({"clowdy.yaml": "functions: {hello: {memroy: 1}}\n"})
    refused = said(client.push(options=["format=json"], fails=True))
    assert refused[-1] == {
        "type": "done",
        "ok": False,
        "problems": 1,
        "live": "deploy/1",
        "text": "1 problem, nothing was deployed. live stays at deploy/1.",
    }
    stored = said(client.push("HEAD:refs/heads/feature", options=["format=json"]))
    assert [item.get("severity") for item in stored] == ["warning", None]


@pytest.mark.parametrize("first", [True, False])
def test_what_is_refused_in_quarantine_is_json_too(client: Client, first: bool) -> None:
    if not first:
        client.hello()
        client.push()
    client.commit({"/".join(["d"] * 101) + "/f": "x"})
    problem, end = said(client.push(fails=True, options=["plan", "format=json"]))
    assert (problem["type"], problem["file"], problem["line"], problem["code"]) == ("problem", "clowdy.yaml", 1, "push")
    assert "more than 100 levels" in problem["message"]
    assert (end["type"], end["ok"], end["problems"]) == ("done", False, 1)
    assert "clowdy.yaml:1:1: error[push] " in client.push(fails=True)


def test_a_plan_changes_nothing(server: Server, client: Client, name: str) -> None:
    client.hello()
    assert "plan only, nothing changed" in client.push(options=["plan"], fails=True)
    assert server.call(name).status_code == 404
    client.push()
    before = client.git("ls-remote", "clowdy")
    client.hello("two")
    for refs in (["main"], ["main:live"], ["main", "HEAD:refs/tags/v1"], ["--atomic", "main", "HEAD:refs/tags/v1"]):
        output = client.push(*refs, options=["plan"], fails=True)
        assert " ~ function hello  v1→v2" in output
        assert "(plan only, nothing changed)" in output
    assert client.git("ls-remote", "clowdy") == before
    pushes = server.api("GET", f"/api/projects/{name}/pushes?all=1").json()
    assert [push["state"] for push in pushes] == ["planned"] * 4 + ["live", "planned"]


def test_redeploy_takes_no_number_and_is_history(server: Server, client: Client, name: str) -> None:
    client.commit(
        {
            "clowdy.yaml": MANIFEST,
            "functions/hello.py": "import os\nme = os.urandom(8).hex()\ndef handler(event):\n    return me\n",
        }
    )
    client.push()
    first = server.call(name).text
    output = client.push("main:live", options=["redeploy"])
    assert "back:" not in output
    assert server.call(name).text != first
    assert server.call(name).headers["X-Clowdy-Release"] == "1"
    history = server.api("GET", f"/api/projects/{name}/history").json()
    assert [(entry["release"], entry["how"]) for entry in history] == [(1, "redeploy"), (1, "push to main")]
    client.git("fetch", "-q", "clowdy", "+refs/notes/*:refs/notes/*")
    assert "by admin, redeploy" in client.git("log", "-1", "--notes=deploys", "--format=%N")


def test_a_push_that_is_turned_away_is_kept_with_its_reason(server: Server, client: Client, name: str) -> None:
    client.hello()
    client.push()
    client.hello("two")
    client.push(options=["paln"], fails=True)
    push = server.api("GET", f"/api/projects/{name}/pushes?all=1").json()[0]
    assert push["state"] == "refused"
    shown = server.api("GET", f"/api/projects/{name}/pushes/{push['id']}").json()
    assert "unknown push option 'paln'" in shown["output"]
