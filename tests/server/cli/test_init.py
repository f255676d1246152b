from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.cli.conftest import Terminal
from tests.server.cli.small_server import SmallServer


def test_a_new_project_is_a_push_away(signed_in: Terminal, server: SmallServer) -> None:
    result = signed_in.run("init", "hello")
    project = signed_in.folder / "hello"

    assert result.code == 0
    assert result.err == ""
    assert result.out.endswith(f"\n\n  cd hello\n  git push clowdy main\n  curl {server.url}/api/gateway/hello/\n")
    assert signed_in.git("status", "--short", "--branch", folder=project) == "## main\n"
    assert "main -> main" in signed_in.git("push", "clowdy", "main", folder=project)


def test_the_first_line_of_clowdy_yaml_names_the_servers_schema(signed_in: Terminal, server: SmallServer) -> None:
    signed_in.run("init", "hello")

    first = (signed_in.folder / "hello" / "clowdy.yaml").read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema={server.url}/schema/clowdy.schema.json"


def test_the_starter_is_complete_and_its_tests_pass_with_python_alone(terminal: Terminal) -> None:
    terminal.run("init", "hello")
    project = terminal.folder / "hello"

    files = terminal.git("ls-files", folder=project).split()
    assert files == [".gitignore", "README.md", "clowdy.yaml", "functions/hello.py", "tests/test_hello.py"]
    done = subprocess.run(
        [sys.executable, "-I", "tests/test_hello.py"], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ok test_") == 3


def test_the_webhook_starters_tests_pass_with_python_alone(terminal: Terminal) -> None:
    terminal.run("init", "news", "--starter", "webhook")
    done = subprocess.run(
        [sys.executable, "-I", "tests/test_webhook.py"],
        cwd=terminal.folder / "news",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ok test_") == 5


def test_someone_without_a_name_in_git_gets_a_stand_in_for_this_commit_alone(terminal: Terminal) -> None:
    terminal.run("init", "hello")
    project = terminal.folder / "hello"

    assert terminal.git("log", "--format=%an <%ae>", folder=project) == "Clowdy <clowdy@localhost>\n"
    assert "user." not in terminal.git("config", "--list", folder=project)


def test_the_first_commit_is_its_makers(terminal: Terminal) -> None:
    terminal.git("config", "--global", "user.name", "Ana")
    terminal.git("config", "--global", "user.email", "ana@example.com")
    terminal.run("init", "hello")

    assert terminal.git("log", "--format=%an <%ae>", folder=terminal.folder / "hello") == "Ana <ana@example.com>\n"


def test_settings_that_commits_trip_over_do_not_matter(terminal: Terminal) -> None:
    hooks = terminal.folder / "hooks"
    hooks.mkdir()
    (hooks / "pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (hooks / "pre-commit").chmod(0o755)
    ignored = terminal.folder / "ignored"
    ignored.write_text("*\n")
    for name, value in (
        ("core.hooksPath", str(hooks)),
        ("core.excludesFile", str(ignored)),
        ("commit.gpgSign", "true"),
        ("gpg.program", "false"),
        ("init.defaultBranch", "trunk"),
    ):
        terminal.git("config", "--global", name, value)

    assert terminal.run("init", "hello").code == 0
    assert terminal.git("branch", "--show-current", folder=terminal.folder / "hello") == "main\n"


def test_an_empty_folder_is_taken(terminal: Terminal) -> None:
    (terminal.folder / "hello").mkdir()

    assert terminal.run("init", "hello").code == 0


def test_a_folder_with_something_in_it_is_left_alone(terminal: Terminal) -> None:
    (terminal.folder / "hello").mkdir()
    (terminal.folder / "hello" / "mine").write_text("x")

    result = terminal.run("init", "hello")
    assert result.code == 1
    assert "hello/ is not empty" in result.err
    assert [item.name for item in (terminal.folder / "hello").iterdir()] == ["mine"]


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_folder_is_not_replaced(terminal: Terminal, make: object) -> None:
    assert callable(make)
    make(terminal.folder / "hello")

    result = terminal.run("init", "hello")
    assert result.code == 1
    assert "in the way" in result.err


def test_an_init_that_fails_leaves_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_AUTHOR_DATE", "no date")

    result = terminal.run("init", "hello")
    assert result.code == 1
    assert list(terminal.folder.iterdir()) == []


@pytest.mark.parametrize("name", ["Hello", "a", "-x", "a_b", "a/b", "..", "a-", "x" * 41, "\x1b[31m"])
def test_a_name_that_no_project_may_have_is_refused_with_the_rule(terminal: Terminal, name: str) -> None:
    result = terminal.run("init", "--", name)

    assert result.code == 2
    assert "2 to 40 of a-z, 0-9 and -" in result.err
    assert "\x1b" not in result.err
    assert list(terminal.folder.iterdir()) == []


@pytest.mark.parametrize("starter", ["fastapi", "flask", "data", "webhook"])
def test_every_starter_is_a_whole_project_that_is_right(terminal: Terminal, starter: str) -> None:
    result = terminal.run("init", "mine", "--starter", starter)

    assert "git push clowdy main" in result.out
    assert "/api/gateway/mine/" in result.out
    files = terminal.git("ls-files", folder=terminal.folder / "mine").split()
    assert {"README.md", "clowdy.yaml", ".gitignore"} < set(files)
    assert any(file.startswith("tests/test_") for file in files)
    assert terminal.run("validate", folder=terminal.folder / "mine").code == 0


def test_a_starter_that_needs_a_secret_says_how_to_set_it_before_the_push(terminal: Terminal) -> None:
    lines = terminal.run("init", "mine", "--starter", "webhook").out.splitlines()

    assert lines.index("  openssl rand -hex 32 | clowdy secret set WEBHOOK_SECRET") < lines.index(
        "  git push clowdy main"
    )


def test_an_unknown_starter_is_refused_naming_the_known_ones(terminal: Terminal) -> None:
    result = terminal.run("init", "hello", "--starter", "django")

    assert (result.code, result.err) == (
        2,
        "clowdy: no starter 'django': there is hello, fastapi, flask, data, webhook\n",
    )


def test_someone_who_is_not_signed_in_is_told_how(terminal: Terminal) -> None:
    result = terminal.run("init", "hello")

    assert result.code == 0
    assert "run clowdy login http://127.0.0.1:8000 before the push" in result.err


def test_the_environment_names_the_server(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOWDY_URL", "https://clowdy.example/")
    monkeypatch.setenv("CLOWDY_TOKEN", "x")
    result = terminal.run("init", "hello", "--json")

    assert json.loads(result.out) == {
        "project": "hello",
        "folder": "hello",
        "remote": "clowdy",
        "git_url": "https://clowdy.example/git/hello.git",
    }
    assert result.err == ""


def test_an_init_inside_of_another_repositorys_hook_makes_its_own(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = terminal.repository()
    monkeypatch.setenv("GIT_DIR", str(outer / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(outer))
    assert terminal.run("init", "hello").code == 0
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_WORK_TREE")

    assert terminal.git("log", "--format=%s", folder=outer) == "First\n"
    assert terminal.git("log", "--format=%s", folder=terminal.folder / "hello") == "Start from hello\n"
