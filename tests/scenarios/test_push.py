"""What a person sees who pushes with a stock git client."""

from __future__ import annotations

import json
import re

from tests.harness import HELLO, MANIFEST, Client, Server


def test_the_first_push_makes_the_project_and_serves_it(server: Server, client: Client, name: str) -> None:
    client.hello()
    output = client.push()
    assert f"created project {name}" in output
    assert re.search(r"\* \[new branch\] +main -> main", output)
    assert re.search(r"main -> live", output)
    assert re.search(r"\* \[new tag\] +main -> deploy/1", output)
    answer = server.call(name)
    assert answer.json() == {"message": "Hello"}
    assert answer.headers["X-Clowdy-Release"] == "1"
    assert re.fullmatch(r"[0-9a-f-]{12,}", answer.headers["X-Request-Id"])


def test_a_second_push_replaces_it_and_the_clients_live_moves_without_a_fetch(
    server: Server, client: Client, name: str
) -> None:
    client.hello()
    client.push()
    commit = client.hello("Good day")
    output = client.push()
    assert server.call(name).json() == {"message": "Good day"}
    assert server.call(name).headers["X-Clowdy-Release"] == "2"
    assert client.git("rev-parse", "clowdy/live").strip() == commit
    assert "deploy/1" in output


def test_problems_stand_with_their_line_and_the_old_version_serves_on(
    server: Server, client: Client, name: str
) -> None:
    client.hello()
    client.push()
    client.commit(
        {
            "clowdy.yaml": "functions:\n  hello: {}\nroutes:\n  GET /a: hello\n  GET /a/: hello\n"
            "  GET /b: helo\nmemroy: 1\n",
            "functions/hello.py": "def handler(event)\n    return 1\n",
        }
    )
    output = client.push(fails=True)
    assert "clowdy.yaml:5:3: error[route-duplicate]" in output
    assert "did you mean" in output
    assert "functions/hello.py:1:" in output
    assert "^" in output
    assert re.search(r"! \[remote rejected\] main -> main \(clowdy\.yaml:5:3 .*\(\+\d more\)\)", output)
    assert server.call(name).json() == {"message": "Hello"}
    assert client.git("ls-remote", "clowdy", "refs/tags/deploy/2") == ""


def test_a_rollback_by_tag_needs_no_force(server: Server, client: Client, name: str) -> None:
    first = client.hello()
    client.push()
    client.hello("Good day")
    client.push()
    client.git("fetch", "-q", "clowdy")
    output = client.push("deploy/1:live")
    assert re.search(r"\+ [0-9a-f]+\.\.\.[0-9a-f]+ deploy/1 -> live \(forced update\)", output)
    assert server.call(name).json() == {"message": "Hello"}
    assert server.call(name).headers["X-Clowdy-Release"] == "1"
    assert client.git("ls-remote", "clowdy", "refs/heads/live").split()[0] == first
    assert client.git("ls-remote", "clowdy", "refs/tags/deploy/3") == ""


def test_live_takes_commits_light_and_annotated_tags_and_branches(server: Server, client: Client, name: str) -> None:
    client.hello("one")
    client.push()
    client.git("tag", "light")
    client.hello("two")
    client.push()
    client.git("tag", "-a", "-m", "two", "annotated")
    client.hello("three")
    client.push()
    for spec, text in (
        ("HEAD~1:live", "two"),
        ("light:live", "one"),
        ("annotated:live", "two"),
        ("main:live", "three"),
        ("main:live", "three"),
        (f"{client.git('rev-parse', 'HEAD~2').strip()}:live", "one"),
    ):
        client.push(spec)
        assert server.call(name).json() == {"message": text}, spec
    releases = server.api("GET", f"/api/projects/{name}/releases").json()
    assert [release["release"] for release in releases] == [3, 2, 1]


def test_a_commit_without_a_release_is_deployed_by_a_push_to_live(server: Server, client: Client, name: str) -> None:
    client.hello("one")
    client.push()
    client.hello("two")
    client.push("HEAD:live")
    assert server.call(name).json() == {"message": "two"}
    assert server.call(name).headers["X-Clowdy-Release"] == "2"
    main, live = (client.git("ls-remote", "clowdy", f"refs/heads/{ref}").split()[0] for ref in ("main", "live"))
    assert main != live


def test_the_push_after_a_rollback_says_what_it_brings_back(server: Server, client: Client, name: str) -> None:
    client.hello("one")
    client.push()
    client.hello("two")
    client.push()
    client.git("fetch", "-q", "clowdy")
    client.push("deploy/1:live")
    client.hello("three")
    output = client.push()
    assert "live is at deploy/1 since" in output
    assert "this push also brings back" in output
    assert server.call(name).headers["X-Clowdy-Release"] == "3"


def test_plan_changes_nothing(server: Server, client: Client, name: str) -> None:
    client.hello("one")
    client.push()
    client.hello("two")
    output = client.push(fails=True, options=["plan"])
    assert "(plan only, nothing changed)" in output
    assert "~ function hello" in re.sub(r" +", " ", output)
    assert server.call(name).json() == {"message": "one"}


def test_json_output_is_one_object_a_line(client: Client) -> None:
    client.hello("one")
    output = client.push(options=["format=json"])
    lines = [line.removeprefix("remote: ").strip() for line in output.splitlines() if line.startswith("remote: {")]
    kinds = [json.loads(line)["type"] for line in lines]
    assert "plan" in kinds
    assert "switched" in kinds
    assert kinds[-1] == "done"


def test_an_unknown_option_is_refused_with_the_known_ones(client: Client) -> None:
    client.hello()
    assert "plan, redeploy, upgrade, format=json" in client.push(fails=True, options=["paln"])


def test_redeploy_starts_again_what_is_there(server: Server, client: Client, name: str) -> None:
    client.commit(
        {
            "clowdy.yaml": MANIFEST,
            "functions/hello.py": "import os, time\nSTARTED = time.time()\ndef handler(event):\n    return STARTED\n",
        }
    )
    client.push()
    before = server.call(name).json()
    assert server.call(name).json() == before
    client.push("main:live", options=["redeploy"])
    assert server.call(name).json() > before
    assert server.call(name).headers["X-Clowdy-Release"] == "1"


def test_each_ref_of_a_push_is_judged_for_itself(server: Server, client: Client, name: str) -> None:
    client.hello()
    client.push()
    client.hello("two")
    output = client.push("main", "HEAD:refs/tags/deploy/7", "HEAD:refs/heads/feature", fails=True)
    assert re.search(r"! \[remote rejected\] .*deploy/7 \(", output)
    assert re.search(r"\* \[new branch\] +HEAD -> feature", output)
    assert server.call(name).json() == {"message": "two"}


def test_atomic_refuses_all_when_one_is_refused(server: Server, client: Client, name: str) -> None:
    client.hello()
    client.push()
    client.hello("two")
    output = client.git("push", "--atomic", "clowdy", "main", "HEAD:refs/tags/deploy/7", fails=True)
    assert "atomic push: another ref was refused" in output
    assert server.call(name).json() == {"message": "Hello"}
    assert client.git("ls-remote", "clowdy", "refs/heads/main").split()[0] != client.git("rev-parse", "HEAD").strip()


def test_live_and_the_deploy_branch_cannot_be_deleted(server: Server, client: Client, name: str) -> None:
    client.hello()
    client.push()
    assert "cannot be deleted" in client.push(":live", fails=True)
    assert "cannot be deleted" in client.push(":main", fails=True)
    assert server.call(name).status_code == 200


def test_the_first_branch_becomes_the_deploy_branch(server: Server, client: Client, name: str) -> None:
    client.hello()
    client.git("branch", "-m", "trunk")
    client.push("trunk")
    assert server.call(name).status_code == 200
    client.git("checkout", "-q", "-b", "main")
    client.hello("other")
    client.push("main")
    assert server.call(name).json() == {"message": "Hello"}
    assert "refs/heads/trunk" in client.git("ls-remote", "--symref", "clowdy", "HEAD")


def test_a_branch_with_problems_is_stored_with_warnings(client: Client) -> None:
    client.hello()
    client.push()
    client.git("checkout", "-q", "-b", "feature")
    client.commit({"clowdy.yaml": "functions:\n  hello: {memroy: 1}\n"})
    output = client.push("feature")
    assert "warning[" in output
    assert re.search(r"\* \[new branch\] +feature -> feature", output)


def test_a_failing_trial_moves_nothing(server: Server, client: Client, name: str) -> None:
    client.hello()
    client.push()
    client.commit({"functions/hello.py": "import nowhere_to_be_found\ndef handler(event):\n    return 1\n"})
    output = client.push(fails=True)
    assert "nowhere_to_be_found" in output
    assert server.call(name).json() == {"message": "Hello"}


def test_a_failing_check_moves_nothing(server: Server, client: Client, name: str) -> None:
    client.hello()
    client.push()
    checks = 'checks:\n  - {request: GET /, status: 200, json: {message: "Bye"}}\n'
    client.commit({"clowdy.yaml": MANIFEST + checks})
    assert "check-failed" in client.push(fails=True)
    assert server.call(name).headers["X-Clowdy-Release"] == "1"
    client.commit({"clowdy.yaml": MANIFEST + checks.replace("Bye", "Hello"), "functions/hello.py": HELLO})
    client.push()
    assert server.call(name).headers["X-Clowdy-Release"] == "2"


def test_history_lies_in_notes_and_tags(client: Client) -> None:
    client.hello()
    client.push()
    client.git("fetch", "-q", "clowdy", "refs/notes/deploys:refs/notes/deploys")
    assert "deploy/1 live" in client.git("log", "--notes=deploys")
    record = client.git("cat-file", "tag", "deploy/1").rstrip().splitlines()[-1]
    assert json.loads(record)["release"] == 1


def test_clone_fetch_shallow_and_partial(server: Server, client: Client, name: str) -> None:
    client.hello("one")
    client.push()
    client.hello("two")
    client.push()
    url = server.remote(name)
    client.git("clone", "-q", url, "../full")
    client.git("clone", "-q", "--depth=1", url, "../shallow")
    client.git("clone", "-q", "--filter=blob:none", "--bare", url, "../partial")
    assert client.git("-C", "../full", "rev-parse", "HEAD") == client.git("rev-parse", "HEAD")
