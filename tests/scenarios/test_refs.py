"""What each ref of a push means: the deploy branch, `live`, tags, and the names that belong to the server."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import httpx
import pytest

from tests.harness import ADMIN, HELLO, MANIFEST, Client, Server


def refs(client: Client) -> dict[str, str]:
    """What a client sees, by name."""
    lines = client.git("ls-remote", "clowdy").splitlines()
    return {name: oid for oid, name in (line.split("\t") for line in lines)}


def release(server: Server, name: str) -> int:
    """The N of what answers."""
    return int(server.call(name).headers["X-Clowdy-Release"])


def test_live_alone_makes_a_project_that_has_no_deploy_branch_yet(server: Server, client: Client, name: str) -> None:
    client.hello()
    output = client.push("main:live")
    assert f"created project {name}" in output
    assert re.search(r"\* \[new tag\] +main -> deploy/1", output)
    assert server.call(name).json() == {"message": "Hello"}
    assert "refs/heads/main" not in refs(client)
    client.git("clone", "-q", client.remote, "../unborn")
    client.git("branch", "-m", "trunk")
    client.hello("two")
    client.push("trunk")
    assert server.call(name).json() == {"message": "two"}
    assert refs(client)["HEAD"] == client.git("rev-parse", "HEAD").strip()


@pytest.mark.parametrize("annotated", [[], ["-a", "-m", "one"]])
def test_a_tag_pushed_to_live_of_a_new_project_serves(
    server: Server, client: Client, name: str, annotated: list[str]
) -> None:
    client.hello()
    client.git("tag", *annotated, "v1")
    output = client.push("v1:live")
    assert server.call(name).json() == {"message": "Hello"}
    assert "refs/tags/live" not in refs(client)
    assert "refs/tags/v1" not in refs(client)
    assert refs(client)["refs/heads/live"] == client.git("rev-parse", "HEAD").strip()
    assert re.search(r"\[new (branch|tag|reference)\] +v1 -> live", output)


def test_live_takes_nothing_but_commits(server: Server, client: Client, name: str) -> None:
    client.hello()
    client.push()
    client.git("tag", "-a", "-m", "a tree", "of-tree", "HEAD^{tree}")
    client.git("tag", "-a", "-m", "a blob", "of-blob", "HEAD:clowdy.yaml")
    for tag in ("of-tree", "of-blob"):
        assert "live takes a commit, or a tag of one" in client.push(f"{tag}:live", fails=True)
        client.push(tag)
    assert release(server, name) == 1


def test_a_branch_takes_no_tag_object(server: Server, client: Client, name: str) -> None:
    client.hello()
    client.push()
    client.hello("two")
    client.git("tag", "-a", "-m", "two", "v2")
    assert "takes a commit, not a tag" in client.push("v2:refs/heads/main", fails=True)
    assert "[remote rejected]" in client.push("v2:refs/heads/feature", fails=True)
    assert release(server, name) == 1


def test_a_release_tag_of_another_server_is_a_tag_like_any(server: Server, client: Client, name: str) -> None:
    client.hello("one")
    client.push()
    client.hello("two")
    client.push()
    other = f"p-{secrets.token_hex(4)}"
    client.git("remote", "add", "other", server.remote(other))
    client.git("push", "other", "HEAD~1:refs/heads/main")
    client.git("push", "other", "HEAD:refs/heads/main")
    client.git("fetch", "-q", "other", "refs/tags/deploy/2:refs/tags/other/deploy/2")
    client.git("fetch", "-q", "clowdy")
    client.push("deploy/1:live")
    client.push("other/deploy/2:live")
    assert server.call(name).json() == {"message": "two"}
    assert release(server, name) == 2


def test_main_live_and_a_tag_in_one_push_make_one_release(server: Server, client: Client, name: str) -> None:
    client.hello()
    client.push()
    client.hello("two")
    client.git("tag", "v2")
    output = client.push("main", "main:live", "v2")
    assert len(re.findall(r"-> deploy/2", output)) == 1
    found = refs(client)
    assert found["refs/heads/main"] == found["refs/heads/live"] == found["refs/tags/v2"]
    assert "name different commits" in client.push("HEAD~1:main", "HEAD:live", "--force", fails=True)
    assert release(server, name) == 2


def test_an_old_commit_pushed_by_force_is_a_new_release_of_the_old_version(
    server: Server, client: Client, name: str
) -> None:
    client.hello("one")
    client.push()
    client.hello("two")
    client.push()
    output = client.push("--force", "HEAD~1:main")
    assert re.search(r"\+ [0-9a-f]+\.\.\.[0-9a-f]+ HEAD~1 -> main \(forced update\)", output)
    assert "v2→v1" in output
    assert release(server, name) == 3
    assert server.api("GET", f"/api/projects/{name}/functions").json()[0]["version"] == 1


def test_an_empty_commit_takes_a_number_and_keeps_the_version(server: Server, client: Client, name: str) -> None:
    client.hello()
    client.push()
    client.commit({})
    assert "unchanged" in client.push()
    assert release(server, name) == 2
    assert server.api("GET", f"/api/projects/{name}/functions").json()[0]["version"] == 1


def test_atomic_moves_every_ref_or_none(server: Server, client: Client, name: str) -> None:
    client.hello()
    client.push()
    client.push("--atomic", "main:live", "HEAD:refs/heads/kept", "HEAD:refs/tags/kept")
    assert {"refs/heads/kept", "refs/tags/kept"} <= refs(client).keys()
    client.hello("two")
    client.push("--atomic", "main", "HEAD:refs/heads/both", "HEAD:refs/tags/both")
    assert {"refs/heads/both", "refs/tags/both", "refs/tags/deploy/2"} <= refs(client).keys()
    client.commit({"clowdy.yaml": "functions: 1\n"})
    client.push("--atomic", "main", "HEAD:refs/heads/none", fails=True)
    client.push("--atomic", "HEAD:refs/notes/none", "HEAD:refs/tags/none", fails=True)
    assert not {"refs/heads/none", "refs/tags/none"} & refs(client).keys()
    client.push("--atomic", ":refs/tags/both")
    assert "refs/tags/both" not in refs(client)


def test_what_the_server_writes_cannot_be_written_or_is_hidden(server: Server, client: Client, name: str) -> None:
    commit = client.hello()
    client.push()
    for ref in (f"refs/replace/{commit}", "refs/notes/x", "refs/clowdy/live", "refs/tags/deploy/9", "refs/x/y"):
        output = client.push(f"HEAD:{ref}", "HEAD:refs/heads/beside", fails=True)
        assert "[remote rejected]" in output
    assert "made by the server" in client.push(":refs/tags/deploy/1", fails=True)
    assert not [ref for ref in refs(client) if ref.startswith(("refs/clowdy", "refs/replace", "refs/x"))]
    assert "refs/heads/beside" in refs(client)
    client.git("fetch", "-q", "clowdy", "refs/notes/*:refs/notes/*")
    assert "deploy/1 live" in client.git("log", "-1", "--notes=deploys", "--format=%N")


def test_branches_and_tags_that_are_stored_go_again(client: Client) -> None:
    client.hello()
    client.push()
    client.push("HEAD:refs/heads/feature", "HEAD:refs/tags/v1")
    output = client.push(":feature", ":v1")
    assert len(re.findall(r"- \[deleted\]", output)) == 2
    assert not {"refs/heads/feature", "refs/tags/v1"} & refs(client).keys()


def test_two_first_branches_at_once_leave_one_deploy_branch(server: Server, tmp_path: Path, name: str) -> None:
    slow = "import time\ntime.sleep(1)\n" + HELLO
    clients = {branch: server.client(tmp_path / branch, name) for branch in ("main", "trunk")}
    for branch, client in clients.items():
        client.commit({"clowdy.yaml": MANIFEST, "functions/hello.py": slow.replace("Hello", branch)})
        client.git("branch", "-M", branch)
    pushes = [client.start("push", "clowdy", branch) for branch, client in clients.items()]
    outputs = [push.communicate()[0] for push in pushes]
    chosen = server.api("GET", f"/api/projects/{name}").json()["deploy_branch"]
    assert server.call(name).json() == {"message": chosen}, outputs
    assert release(server, name) == 1


def test_a_refused_first_branch_is_not_the_deploy_branch(server: Server, client: Client, name: str) -> None:
    client.commit({"clowdy.yaml": "functions: 1\n"})
    assert f"created project {name}" in client.push(fails=True)
    assert server.api("GET", f"/api/projects/{name}").json()["deploy_branch"] is None
    client.git("branch", "-m", "trunk")
    client.hello()
    client.push("trunk")
    assert server.call(name).json() == {"message": "Hello"}


@pytest.mark.parametrize("content", [None, "", "\n# nothing\n"])
def test_a_deploy_branch_without_clowdy_yaml_is_told_what_to_write(client: Client, content: str | None) -> None:
    client.commit({"README.md": "hi\n"} if content is None else {"clowdy.yaml": content})
    output = client.push(fails=True)
    assert "clowdy.yaml:1:1: error[" in output
    assert "functions:" in output


@pytest.mark.parametrize("scope", ["read", "deploy", "admin"])
def test_a_token_of_one_project_cannot_tell_which_others_are_there(
    server: Server, client: Client, tmp_path: Path, name: str, scope: str
) -> None:
    client.hello()
    client.push()
    mine = f"p-{secrets.token_hex(4)}"
    own = server.client(tmp_path / "mine", mine)
    own.hello()
    own.push()
    made = server.api("POST", "/api/tokens", json={"name": f"{scope}-{mine}", "scope": scope, "project": mine}).json()
    for project in (name, f"free-{mine}"):
        path = f"/git/{project}.git/info/refs?service=git-receive-pack"
        answer = httpx.get(server.url + path, auth=("ana", made["token"]))
        assert (answer.status_code, answer.text) == (404, "Project not found\n")


def test_a_call_by_name_or_of_a_private_function_takes_no_password_of_a_browser(
    server: Server, client: Client, name: str
) -> None:
    manifest = MANIFEST.replace("hello: {}", "hello: {public: false}")
    client.commit({"clowdy.yaml": manifest, "functions/hello.py": HELLO})
    client.push()
    (function,) = server.api("GET", f"/api/projects/{name}/functions").json()
    for path, status in ((f"{name}/hello", 401), (function["id"], 404)):
        answer = httpx.post(f"{server.url}/api/invoke/{path}", auth=("ana", ADMIN), content="{}")
        assert answer.status_code == status
        assert server.api("POST", f"/api/invoke/{path}", json={}).json()["success"]
