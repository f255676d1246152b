from __future__ import annotations

import json

from tests.server.cli.conftest import Terminal


def test_a_commit_that_is_right(terminal: Terminal) -> None:
    folder = terminal.repository()
    result = terminal.run("validate", folder=folder / "functions")

    assert result.code == 0
    assert result.out.endswith(" is right: 1 function, 1 route.\n")
    assert "not checked here: " in result.err


def test_problems_stand_as_the_push_prints_them(terminal: Terminal) -> None:
    folder = terminal.repository()
    terminal.commit(folder, {"clowdy.yaml": "functions: {hello: {}}\nroutes:\n  GET /: helo\n"})
    result = terminal.run("validate", folder=folder)

    assert result.code == 1
    assert result.out == (
        'clowdy.yaml:3:10: error[route-function] helo is not a function of this file: did you mean "hello"?\n'
        "    3 |   GET /: helo\n"
        "      |          ^^^^\n"
    )
    assert result.err.endswith("has 1 problem: a push of it is refused\n")


def test_head_is_judged_and_the_worktree_when_asked(terminal: Terminal) -> None:
    folder = terminal.repository()
    (folder / "functions" / "hello.py").write_text("def handler(event:\n")

    assert terminal.run("validate", folder=folder).code == 0
    result = terminal.run("validate", "--worktree", folder=folder)
    assert result.code == 1
    assert "functions/hello.py:1:" in result.out


def test_a_folder_without_git_can_be_judged_as_it_is(terminal: Terminal) -> None:
    (terminal.folder / "clowdy.yaml").write_text("functions: {hello: {}}\n")
    result = terminal.run("validate", "--worktree")

    assert result.code == 1
    assert "clowdy.yaml:1:13: error[handler-file]" in result.out or "functions/hello.py" in result.out


def test_outside_of_a_repository_there_is_no_commit(terminal: Terminal) -> None:
    result = terminal.run("validate")

    assert result.code == 1
    assert "not in a git repository" in result.err


def test_the_name_in_the_file_must_be_the_remotes(terminal: Terminal) -> None:
    folder = terminal.repository(("clowdy", "http://127.0.0.1:1/git/shop.git"))
    terminal.commit(folder, {"clowdy.yaml": "name: other\nfunctions: {hello: {}}\n"})

    assert "clowdy.yaml:1:7" in terminal.run("validate", folder=folder).out
    assert terminal.run("validate", "-p", "other", folder=folder).code == 0


def test_json_is_one_object_a_line(terminal: Terminal) -> None:
    folder = terminal.repository()
    terminal.commit(
        folder, {"clowdy.yaml": "functions: {hello: {}}\nroutes:\n  GET /: helo\nenv: {A: {secret: true}}\n"}
    )
    lines = [json.loads(line) for line in terminal.run("validate", "--json", folder=folder).out.splitlines()]

    assert [line["type"] for line in lines] == ["problem", "done"]
    assert (lines[0]["line"], lines[0]["code"]) == (3, "route-function")
    assert lines[1]["ok"] is False
    assert "that secrets have a value" in lines[1]["unchecked"]


def test_the_starter_is_right(terminal: Terminal) -> None:
    terminal.run("init", "hello")

    assert terminal.run("validate", folder=terminal.folder / "hello").code == 0
