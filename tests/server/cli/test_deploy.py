from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.server.cli.conftest import TOKEN, Terminal
from tests.server.cli.small_server import SmallServer

pytestmark = pytest.mark.slow  # git pushes, one and more in each test


@pytest.fixture
def linked(signed_in: Terminal) -> Path:
    """A repository of the project shop."""
    folder = signed_in.repository()
    signed_in.run("link", "shop", folder=folder)
    return folder


def served(server: SmallServer, ref: str = "refs/heads/main") -> str:
    done = subprocess.run(
        ["git", "--git-dir", str(server.repository("shop")), "rev-parse", "--verify", "--quiet", ref],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def head(terminal: Terminal, folder: Path) -> str:
    return terminal.git("rev-parse", "HEAD", folder=folder).strip()


def test_what_is_committed_goes_to_the_deploy_branch(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on("GET /api/projects/shop", {"deploy_branch": "production", "live": None})
    result = signed_in.run("deploy", folder=linked)

    assert result.code == 0
    assert "remote: judged" in result.err
    assert " * [new branch]      HEAD -> production\n" in result.err
    assert served(server, "refs/heads/production") == head(signed_in, linked)


def test_before_the_first_push_the_branch_is_the_one_that_is_checked_out(
    signed_in: Terminal, server: SmallServer, linked: Path
) -> None:
    signed_in.git("checkout", "-qb", "trunk", folder=linked)
    assert signed_in.run("deploy", folder=linked).code == 0

    assert served(server, "refs/heads/trunk") == head(signed_in, linked)


def test_what_is_not_committed_is_named_and_not_sent(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    (linked / "clowdy.yaml").write_text("changed")
    (linked / "new file.txt").write_text("x")
    result = signed_in.run("deploy", folder=linked)

    assert "clowdy: not committed, so not deployed: clowdy.yaml, new file.txt\n" in result.err
    assert served(server) == head(signed_in, linked)


def test_the_servers_words_cannot_act_on_the_terminal(signed_in: Terminal, linked: Path) -> None:
    assert "\x1b" not in signed_in.run("deploy", folder=linked).err


def test_a_refusal_exits_1_with_its_reason(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    (server.repository("shop") / "refuse").write_text("clowdy.yaml:1:1 no functions (+2 more)")
    result = signed_in.run("deploy", folder=linked)

    assert result.code == 1
    assert "clowdy: main was refused: clowdy.yaml:1:1 no functions (+2 more)\n" in result.err
    assert served(server) == ""


def test_a_shallow_clone_is_told_how_to_get_the_rest(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    signed_in.commit(linked, {"more": "x"})
    shallow = signed_in.folder / "shallow"
    signed_in.git("clone", "-q", "--depth", "1", f"file://{linked}", str(shallow))
    signed_in.run("link", "shop", folder=shallow)
    result = signed_in.run("deploy", folder=shallow)

    assert result.code == 1
    assert "git fetch --unshallow" in result.err


def test_someone_elses_push_is_explained(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    signed_in.run("deploy", folder=linked)
    signed_in.git("-c", "user.name=A", "-c", "user.email=a@b", "commit", "-q", "--amend", "-m", "x", folder=linked)
    result = signed_in.run("deploy", folder=linked)

    assert result.code == 1
    assert "git pull --rebase" in result.err


def test_nothing_new_is_said_with_the_way_forward(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    signed_in.run("deploy", folder=linked)
    server.on("GET /api/projects/shop", {"deploy_branch": "main", "live": {"tag": "deploy/1", "commit": "f" * 40}})
    result = signed_in.run("deploy", folder=linked)

    assert result.code == 0
    assert "deploy/1 is live: git push clowdy HEAD:live goes forward" in result.err

    server.on(
        "GET /api/projects/shop",
        {"deploy_branch": "main", "live": {"tag": "deploy/2", "commit": head(signed_in, linked)}},
    )
    assert "nothing to deploy" in signed_in.run("deploy", folder=linked).err


def test_json_is_the_pushs_lines(signed_in: Terminal, linked: Path) -> None:
    result = signed_in.run("deploy", "--json", folder=linked)

    assert [json.loads(line)["type"] for line in result.out.splitlines()] == ["plan", "done"]


def test_without_a_commit_it_says_what_to_do(signed_in: Terminal) -> None:
    signed_in.git("init", "-q", str(signed_in.folder / "empty"))
    result = signed_in.run("deploy", "-p", "shop", folder=signed_in.folder / "empty")

    assert (result.code, result.err) == (1, "clowdy: nothing is committed yet: git add -A && git commit\n")


def test_ci_needs_no_remote_and_no_helper(
    terminal: Terminal, server: SmallServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = terminal.repository()
    monkeypatch.setenv("CLOWDY_URL", server.url)
    monkeypatch.setenv("CLOWDY_TOKEN", TOKEN)
    before = (folder / ".git" / "config").read_text()

    assert terminal.run("deploy", "-p", "shop", folder=folder).code == 0
    assert served(server) == head(terminal, folder)
    assert (folder / ".git" / "config").read_text() == before
    assert not terminal.config.exists()


def test_the_environments_token_wins_over_one_in_the_remote(
    terminal: Terminal, server: SmallServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = terminal.repository(("clowdy", server.url.replace("http://", "http://any:old@") + "/git/shop.git"))
    monkeypatch.setenv("CLOWDY_TOKEN", TOKEN)

    assert terminal.run("deploy", folder=folder).code == 0
    assert served(server) == head(terminal, folder)


def test_a_push_that_git_cannot_make_is_a_failure(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    signed_in.git("remote", "set-url", "--push", "clowdy", "http://127.0.0.1:1/git/shop.git", folder=linked)
    result = signed_in.run("deploy", folder=linked)

    assert result.code == 1
    assert "clowdy: git could not push" in result.err


def test_a_plan_changes_nothing_and_exits_0(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    result = signed_in.run("plan", folder=linked)

    assert (result.code, result.err) == (0, "")
    assert result.out == "option plan\njudged \N{REPLACEMENT CHARACTER}[31mrefs/heads/main\n"
    assert served(server) == ""


def test_a_plan_of_what_was_pushed_already_asks_about_live(
    signed_in: Terminal, server: SmallServer, linked: Path
) -> None:
    signed_in.run("deploy", folder=linked)
    result = signed_in.run("plan", folder=linked)

    assert result.code == 0
    assert "refs/heads/live" in result.out
    assert served(server, "refs/heads/live") == ""


def test_a_plan_with_problems_exits_1(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    (server.repository("shop") / "refuse").write_text("clowdy.yaml:1:1 no functions")
    result = signed_in.run("plan", folder=linked)

    assert (result.code, result.err) == (1, "clowdy: this would be refused: clowdy.yaml:1:1 no functions\n")
    assert "judged" in result.out


def test_a_plan_as_json_is_the_pushs_lines(signed_in: Terminal, linked: Path) -> None:
    result = signed_in.run("plan", "--json", folder=linked)

    assert result.code == 0
    assert [json.loads(line)["type"] for line in result.out.splitlines()] == ["plan", "plan", "done"]


def test_a_plan_that_cannot_be_made_says_what_git_said(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    signed_in.git("remote", "set-url", "--push", "clowdy", "http://127.0.0.1:1/git/shop.git", folder=linked)
    result = signed_in.run("plan", folder=linked)

    assert result.code == 1
    assert "Failed to connect" in result.err
