from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from clowdy.server.cli.program import LATER, VERBS, program
from tests.server.cli.conftest import Terminal

PYTHON_WITHOUT_WARNINGS = [sys.executable, "-W", "error"]


@pytest.mark.parametrize("verb", sorted(LATER))
def test_a_verb_that_is_not_built_says_so(terminal: Terminal, verb: str) -> None:
    result = terminal.run(verb, "--whatever")

    assert (result.code, result.out) == (2, "")
    assert result.err == f"clowdy: {verb}: not available in this version\n"


def test_a_verb_below_another_that_is_not_built_says_so(terminal: Terminal) -> None:
    result = terminal.run("secret", "import", "file")

    assert (result.code, result.err) == (2, "clowdy: secret import: not available in this version\n")


def test_the_help_names_what_is_there_and_nothing_else(terminal: Terminal) -> None:
    result = terminal.run("--help")

    named = {line.split()[0] for line in result.out.splitlines() if line.startswith("  ") and line.split()}
    assert result.code == 0
    assert set(VERBS) <= named
    assert not (LATER | {"credential"}) & named


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_has_help(terminal: Terminal, verb: str) -> None:
    result = terminal.run(verb, "--help")

    assert result.code == 0
    assert result.out.startswith(f"Usage: clowdy {verb} ")


def test_the_verbs_below_a_verb_are_told_to_the_end_of_the_sentence(terminal: Terminal) -> None:
    told = " ".join(terminal.run("token", "--help").out.split())

    assert "create Make a token and print it, alone on the last line: it is shown this once." in told
    assert "newest first, without their secret part." in told


@pytest.mark.parametrize("verb", list(VERBS))
def test_what_the_list_says_of_a_verb_is_what_it_does(verb: str) -> None:
    command = program.get_command(click.Context(program), verb)

    assert command is not None
    assert command.name == verb


@pytest.mark.parametrize(
    ("arguments", "near"),
    [(["deply"], "deploy"), (["log"], "logs"), (["rolback", "--x"], "rollback"), (["secret", "remove"], None)],
)
def test_an_unknown_verb_is_answered_with_the_nearest(
    terminal: Terminal, arguments: list[str], near: str | None
) -> None:
    result = terminal.run(*arguments)

    assert result.code == 2
    assert result.err.startswith("clowdy: no verb ")
    assert (f"did you mean {near!r}?" in result.err) is (near is not None)


def test_an_unknown_verb_cannot_act_on_the_terminal(terminal: Terminal) -> None:
    assert "\x1b" not in terminal.run("\x1b[31mdeploy").err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["deploy", "--foo"], "no such option"),
        (["init"], "missing argument"),
        (["invoke", "f", "{", "more"], "unexpected extra argument"),
        (["logs", "-n", "many"], "is not a valid integer range"),
        (["project", "show", "-p", "A B"], "is not a project's name"),
    ],
)
def test_a_command_line_that_is_wrong_exits_2_and_says_where_to_look(
    terminal: Terminal, arguments: list[str], words: str
) -> None:
    result = terminal.run(*arguments)

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("clowdy: ")
    assert words in result.err


def test_without_a_verb_there_is_help(terminal: Terminal) -> None:
    result = terminal.run()

    assert result.code == 2
    assert result.out.startswith("Usage: clowdy ")


def test_it_says_which_version_it_is(terminal: Terminal) -> None:
    result = terminal.run("--version")

    assert result.code == 0
    assert result.out.startswith("clowdy 0.")


def loaded(arguments: list[str], folder: Path) -> set[str]:
    """The modules that a verb imports in a process of its own."""
    code = (
        "import sys, json; from clowdy.server.cli.main import main;"
        "code = main(sys.argv[1:]); print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    environment = {
        "HOME": str(folder),
        "PATH": "/usr/bin:/bin",
        "CLOWDY_URL": "http://127.0.0.1:1",
        "CLOWDY_TOKEN": "x",
    }
    done = subprocess.run(
        [*PYTHON_WITHOUT_WARNINGS, "-c", code, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    modules: list[str] = json.loads(done.stderr.splitlines()[-1])
    return set(modules)


CLIENT_VERBS = (
    ["project", "list"],
    ["logs", "-p", "shop"],
    ["invoke", "f", "-p", "shop"],
    ["releases", "-p", "shop"],
    ["rollback", "-p", "shop"],
    ["cancel", "-p", "shop"],
    ["secret", "list", "-p", "shop"],
    ["token", "list"],
    ["reconcile", "-p", "shop"],
    ["init", "hello"],
    ["link", "shop"],
    ["deploy", "-p", "shop"],
    ["plan", "-p", "shop"],
    ["validate"],
    ["login", "http://127.0.0.1:1"],
)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", CLIENT_VERBS, ids=lambda arguments: arguments[0])
def test_client_verbs_import_no_server_code(arguments: list[str], tmp_path: Path) -> None:
    modules = loaded(arguments, tmp_path)

    own = {name for name in modules if name.startswith("clowdy.") and name.count(".") >= 1}
    allowed = ("clowdy.schema", "clowdy.hooks", "clowdy.server.cli", "clowdy.templates")
    assert {name for name in own if name != "clowdy.server" and not name.startswith(allowed)} == set()
    roots = {name.partition(".")[0] for name in modules}
    assert not roots & {"aiohttp", "sqlalchemy", "aiosqlite", "alembic", "dulwich", "cryptography", "jinja2", "uvloop"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["deply"]], ids=lambda arguments: arguments[0])
def test_what_needs_no_server_imports_no_client_either(arguments: list[str], tmp_path: Path) -> None:
    roots = {name.partition(".")[0] for name in loaded(arguments, tmp_path)}

    assert not roots & {"httpx", "yaml", "jsonschema", "asyncio"}


def test_a_reader_that_has_seen_enough_ends_it_quietly(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m clowdy.server.cli.main --help 2>&1 | true"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )

    assert "Traceback" not in done.stdout + done.stderr
