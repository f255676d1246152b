"""Versions, releases and going back: what keeps its number, what gets a new one, and what is written down."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.harness import HELLO, MANIFEST, Client, Server

TWO = "functions:\n  hello: {source: a}\n  other: {source: b}\nroutes:\n  GET /: hello\n  GET /other: other\n"


def two(client: Client, hello: str = "one", other: str = "one") -> str:
    return client.commit(
        {
            "clowdy.yaml": TWO,
            "a/functions/hello.py": HELLO.replace("Hello", hello),
            "b/functions/other.py": HELLO.replace("Hello", other),
        }
    )


def functions(server: Server, name: str) -> dict[str, tuple[str, int]]:
    """Id and version of each function that is live."""
    found = server.api("GET", f"/api/projects/{name}/functions").json()
    return {item["name"]: (item["id"], item["version"]) for item in found}


def rollback(server: Server, name: str, to: str | None = None, status: int = 200) -> dict[str, Any]:
    answer = server.api("POST", f"/api/projects/{name}/rollback", json={"to": to} if to else {})
    assert answer.status_code == status, answer.text
    content: dict[str, Any] = answer.json()
    return content


def test_only_what_changed_gets_a_new_version(server: Server, client: Client, name: str) -> None:
    two(client)
    client.push()
    first = functions(server, name)
    two(client, other="two")
    output = client.push()
    assert "other  v1→v2" in re.sub(" +", " ", output).replace("other v1", "other  v1")
    second = functions(server, name)
    assert second["hello"] == first["hello"] == (first["hello"][0], 1)
    assert second["other"] == (first["other"][0], 2)


def test_a_kept_version_keeps_its_instances(server: Server, client: Client, name: str) -> None:
    two(client)
    client.commit({"a/functions/hello.py": "import os\nme = os.urandom(8).hex()\ndef handler(event):\n    return me\n"})
    client.push()
    before = server.call(name).text
    client.commit({"b/functions/other.py": HELLO.replace("Hello", "new")})
    client.push()
    assert server.call(name).text == before
    assert server.call(name).headers["X-Clowdy-Release"] == "2"


def test_content_seen_before_gets_its_number_back(server: Server, client: Client, name: str) -> None:
    client.hello("one")
    client.push()
    client.hello("two")
    client.push()
    client.hello("one")
    output = client.push()
    assert "v2→v1" in output
    assert "starting" not in output
    client.hello("three")
    assert "v1→v3" in client.push()


def test_a_function_that_comes_back_counts_on_and_a_renamed_one_is_new(
    server: Server, client: Client, name: str
) -> None:
    two(client)
    client.push()
    first = functions(server, name)
    client.commit({"clowdy.yaml": "functions:\n  hello: {source: a}\nroutes:\n  GET /: hello\n"})
    client.push()
    assert "other" not in functions(server, name)
    assert server.call(name, "/other").status_code == 404
    two(client, other="changed")
    client.push()
    assert functions(server, name)["other"] == (first["other"][0], 2)
    renamed = TWO.replace("other: {source: b}", "fresh: {source: b, handler: functions/other.py:handler}")
    client.commit({"clowdy.yaml": renamed.replace("/other: other", "/other: fresh")})
    client.push()
    last = functions(server, name)
    assert last["fresh"][1] == 1
    assert last["fresh"][0] not in {found[0] for found in first.values()}


def test_the_release_tag_carries_the_record(server: Server, client: Client, name: str) -> None:
    client.hello("Say hello")
    client.push()
    commit = client.hello("two")
    client.push()
    client.git("fetch", "-q", "clowdy")
    message = client.git("for-each-ref", "--format=%(contents)", "refs/tags/deploy/2").strip()
    assert message.splitlines()[0] == "deploy/2: two"
    record = json.loads(message.splitlines()[-1])
    identity, version = functions(server, name)["hello"]
    assert record["format"] == 1
    assert (record["release"], record["commit"], record["previous"]) == (2, commit, 1)
    assert (record["who"], record["how"], record["lock"]) == ("admin", "push to main", None)
    (function,) = record["functions"]
    assert (function["id"], function["version"], function["pinned"]) == (identity, version, False)
    assert re.fullmatch(r"[0-9a-f]{64}", function["digest"])


def test_notes_say_who_when_how_how_long_and_what_changed(server: Server, client: Client, name: str) -> None:
    client.hello("one")
    client.push()
    client.hello("two")
    client.push()
    server.api("POST", f"/api/projects/{name}/rollback", json={"reason": "it was slow"})
    client.git("fetch", "-q", "clowdy", "+refs/notes/*:refs/notes/*")
    first, back = client.git("log", "-1", "--notes=deploys", "--format=%N", "HEAD~1").strip().splitlines()
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d"
    assert re.fullmatch(rf"deploy/1 live {when} by admin, push to main, \d+\.\d\d s; \+ function hello, .*", first)
    expected = rf'deploy/1 live {when} by admin, rollback from deploy/2 \("it was slow"\), \d+\.\d\d s; hello v1'
    assert re.fullmatch(expected, back)


def test_rollback_without_a_target_goes_to_what_served_before(server: Server, client: Client, name: str) -> None:
    client.hello("one")
    client.push()
    rollback(server, name, status=422)
    client.hello("two")
    client.push()
    assert rollback(server, name)["release"] == 1
    assert server.call(name).json() == {"message": "one"}
    assert rollback(server, name)["release"] == 2
    client.push("main:live", options=["redeploy"])
    assert rollback(server, name)["release"] == 1


def test_rollback_takes_whatever_names_a_release(server: Server, client: Client, name: str) -> None:
    commits = [client.hello(text) for text in ("one",)]
    client.push()
    client.git("tag", "-a", "-m", "first", "v1")
    client.push("v1")
    commits.append(client.hello("two"))
    client.push()
    for to in ("deploy/1", "v1", commits[0], commits[0][:7], "1", "refs/tags/deploy/1"):
        assert rollback(server, name, to)["release"] == 1
        assert "secrets and data are not rolled back" in "\n".join(rollback(server, name, "main")["lines"])
    again = rollback(server, name, "deploy/2")
    assert again["lines"] == ["deploy/2 serves already: nothing to change"]
    assert server.api("GET", f"/api/projects/{name}/releases").json()[0]["release"] == 2
    for to in ("deploy/9", "nowhere", "f" * 40, "../x"):
        assert "there is no release" in rollback(server, name, to, status=422)["detail"]
    stored = client.hello("never live")
    client.push("HEAD:refs/heads/feature")
    assert "was never live" in rollback(server, name, "feature", status=422)["detail"]
    assert rollback(server, name, stored, status=422)


def test_a_release_whose_secret_has_no_value_is_refused(server: Server, client: Client, name: str) -> None:
    client.hello("one")
    client.push()
    declared = MANIFEST + "env:\n  TOKEN: {secret: true}\n"
    client.commit({"clowdy.yaml": declared})
    assert "TOKEN" in client.push(fails=True)
    server.api("PUT", f"/api/projects/{name}/secrets/TOKEN", json={"value": "swordfish"})
    client.push()
    assert server.api("DELETE", f"/api/projects/{name}/secrets/TOKEN").status_code == 409
    client.hello("two")
    client.push()
    assert server.api("DELETE", f"/api/projects/{name}/secrets/TOKEN").status_code == 200
    client.git("fetch", "-q", "clowdy")
    assert "secret TOKEN has no value" in client.push("deploy/2:live", fails=True)
    assert "secret TOKEN has no value" in rollback(server, name, "deploy/2", status=422)["detail"]
    assert server.call(name).json() == {"message": "two"}


def test_a_changed_secret_is_no_release_and_stands_in_the_notes(server: Server, client: Client, name: str) -> None:
    client.commit(
        {
            "clowdy.yaml": MANIFEST + "env:\n  TOKEN: {secret: true}\n",
            "functions/hello.py": "import os\ndef handler(event):\n    return os.environ['TOKEN'][:1]\n",
        }
    )
    server.api("PUT", f"/api/projects/{name}/secrets/TOKEN", json={"value": "first-value"})
    client.push()
    assert server.call(name).text == "f"
    server.api("PUT", f"/api/projects/{name}/secrets/TOKEN", json={"value": "second-value"})
    assert server.call(name).text == "s"
    assert server.call(name).headers["X-Clowdy-Release"] == "1"
    client.git("fetch", "-q", "clowdy", "+refs/notes/*:refs/notes/*")
    notes = client.git("log", "-1", "--notes=deploys", "--format=%N")
    assert re.search(r"^secret TOKEN changed .* by admin$", notes, re.MULTILINE)
    assert "value" not in notes


def test_the_plan_after_going_back_twice_says_since_when(client: Client) -> None:
    for text in ("one", "two", "three"):
        client.hello(text)
        client.push()
    client.git("fetch", "-q", "clowdy")
    client.push("deploy/1:live")
    client.push("deploy/1:live", options=["redeploy"])
    client.hello("four")
    output = client.push(options=["plan"], fails=True)
    since = r"live is at deploy/1 since admin's rollback \d+ s ago; this push also brings back: "
    assert re.search(since + r"[0-9a-f]{7} three, [0-9a-f]{7} two", output)
    client.push("deploy/2:live")
    output = client.push(options=["plan"], fails=True)
    assert re.search(r"live is at deploy/2 since admin's push to live .* brings back: [0-9a-f]{7} three", output)


@pytest.mark.parametrize(
    ("source", "where"), [("api", "lib/db.py is outside source: api"), (".", "there is no module nothing")]
)
def test_a_module_outside_of_source_is_named(client: Client, source: str, where: str) -> None:
    module = "lib.db" if source == "api" else "nothing"
    folder = "api/" if source == "api" else ""
    client.commit(
        {
            "clowdy.yaml": f"functions:\n  hello: {{source: {source}}}\n",
            f"{folder}functions/hello.py": f"import {module}\n" + HELLO,
            "lib/db.py": "",
        }
    )
    output = client.push(fails=True)
    assert where in output
    assert re.search(r"clowdy\.yaml:2:3: error\[start-failed\]", output)
