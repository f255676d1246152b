"""Verbs with `--data-dir`, on a data directory without a running server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from clowdy.server.people.keys import load_keyring
from clowdy.server.people.secrets import Secrets
from clowdy.server.people.tokens import Tokens
from clowdy.server.store import projects
from clowdy.server.store.engine import Store
from clowdy.server.store.projects import Project
from tests.server.cli.conftest import Terminal


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with the project shop, whose server is not running."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)

    async def prepare() -> None:
        store = await Store.open(folder / "clowdy.db")
        async with store.writing() as connection:
            await projects.add(connection, Project("0" * 12, "shop", "shop", "", "ana", None, (), 1.0, None))
        await store.close()

    asyncio.run(prepare())
    return folder


def known(data: Path, text: str) -> tuple[str, str, str | None] | None:
    """Whom the server that starts here next takes the token for."""

    async def look() -> tuple[str, str, str | None] | None:
        store = await Store.open(data / "clowdy.db")
        tokens = Tokens(store)
        await tokens.refresh()
        principal = tokens.match(text)
        await store.close()
        return None if principal is None else (principal.name, principal.scope.value, principal.project_id)

    return asyncio.run(look())


def value(data: Path, project_id: str, name: str) -> str | None:
    """What functions of a project are given."""

    async def look() -> str | None:
        store = await Store.open(data / "clowdy.db")
        values = await Secrets(store, load_keyring(data)).values(project_id)
        await store.close()
        return values.get(name)

    return asyncio.run(look())


def test_a_token_needs_no_token(terminal: Terminal, data: Path) -> None:
    result = terminal.run("token", "create", "ana", "--data-dir", str(data))

    assert result.code == 0
    assert known(data, result.out.splitlines()[-1]) == ("ana", "admin", None)


def test_a_token_can_be_for_one_project(terminal: Terminal, data: Path) -> None:
    result = terminal.run("token", "create", "ci", "-p", "shop", "--data-dir", str(data), "--json")

    made = json.loads(result.out)
    assert (made["name"], made["scope"], made["project"]) == ("ci", "deploy", "shop")
    assert known(data, made["token"]) == ("ci", "deploy", "0" * 12)


def test_tokens_are_listed_and_revoked(terminal: Terminal, data: Path) -> None:
    terminal.run("token", "create", "admin-of-the-tests", "--data-dir", str(data))
    text = terminal.run("token", "create", "ci", "-p", "shop", "--data-dir", str(data)).out.strip()
    listed = terminal.run("token", "list", "--data-dir", str(data))
    assert [line.split()[1:4] for line in listed.out.splitlines()[1:]] == [
        ["ci", "deploy", "shop"],
        ["admin-of-the-tests", "admin", "-"],
    ]

    assert terminal.run("token", "revoke", "ci", "--data-dir", str(data)).code == 0
    assert known(data, text) is None
    assert "ci" not in terminal.run("token", "list", "--data-dir", str(data)).out


def test_json_is_what_the_api_answers(terminal: Terminal, data: Path) -> None:
    terminal.run("token", "create", "ci", "-p", "shop", "--data-dir", str(data))
    terminal.run("secret", "set", "KEY", "-p", "shop", "--data-dir", str(data), stdin="value")

    token = json.loads(terminal.run("token", "list", "--data-dir", str(data), "--json").out)
    secret = json.loads(terminal.run("secret", "list", "-p", "shop", "--data-dir", str(data), "--json").out)
    assert list(token) == ["id", "name", "scope", "project", "project_id", "created_at", "last_used_at"]
    assert (token["project"], token["project_id"], token["last_used_at"]) == ("shop", "0" * 12, None)
    assert token["created_at"].startswith("20")
    assert secret["updated_at"].startswith("20")


def test_a_secret_is_sealed_for_its_project(terminal: Terminal, data: Path) -> None:
    result = terminal.run("secret", "set", "KEY", "-p", "shop", "--data-dir", str(data), stdin="value\n")

    assert (result.code, result.out, result.err) == (0, "Set KEY.\n", "")
    assert value(data, "0" * 12, "KEY") == "value"
    assert b"value" not in (data / "clowdy.db").read_bytes()


def test_a_secret_may_come_before_its_project(terminal: Terminal, data: Path) -> None:
    terminal.run("secret", "set", "KEY", "-p", "later", "--data-dir", str(data), stdin="value")

    assert value(data, "name:later", "KEY") == "value"
    assert "KEY" in terminal.run("secret", "list", "-p", "later", "--data-dir", str(data)).out


def test_without_a_server_only_force_removes_a_secret(terminal: Terminal, data: Path) -> None:
    options = ("-p", "shop", "--data-dir", str(data))
    terminal.run("secret", "set", "KEY", *options, stdin="value")
    result = terminal.run("secret", "rm", "KEY", *options)
    assert result.code == 1
    assert "use --force" in result.err

    assert terminal.run("secret", "rm", "KEY", "--force", *options).code == 0
    assert value(data, "0" * 12, "KEY") is None


def test_a_value_that_no_function_can_be_given_is_refused(terminal: Terminal, data: Path) -> None:
    result = terminal.run("secret", "set", "PATH", "-p", "shop", "--data-dir", str(data), stdin="x")

    assert result.code == 1
    assert "PATH" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["token", "list"],
        ["token", "create", "x"],
        ["secret", "list", "-p", "shop"],
        ["secret", "set", "A", "-p", "shop"],
    ],
)
def test_a_folder_without_a_server_is_not_made_one(terminal: Terminal, tmp_path: Path, arguments: list[str]) -> None:
    result = terminal.run(*arguments, "--data-dir", str(tmp_path / "typo"), stdin="x")

    assert result.code == 1
    assert "is not the data directory of a server" in result.err
    assert not (tmp_path / "typo").exists()


def test_an_unknown_project_gets_no_token(terminal: Terminal, data: Path) -> None:
    result = terminal.run("token", "create", "x", "-p", "nope", "--data-dir", str(data))

    assert (result.code, result.err) == (1, "clowdy: there is no project nope: push it first\n")
