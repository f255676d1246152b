from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clowdy.server.app import Started
from clowdy.server.cli import accounts, credential
from clowdy.server.cli.welcome import welcome
from clowdy.server.config import Config
from clowdy.server.people.tokens import Scope, Tokens
from clowdy.server.store.engine import Store
from tests.server.cli.conftest import Terminal

URL = "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--runtime", "other"], "'other' is not one of"),
        (["--port", "99999"], "--port says '99999'"),
        (["--memory-budget", "lots"], "--memory-budget says 'lots'"),
        (["--trust-proxy", "10.0.0.0/8", "--trust-proxy", "x"], "trust-proxy"),
        (["--grace", "soon"], "--grace says 'soon'"),
        (["--public-url", "clowdy.example"], "--public-url says"),
        (["--base-domain", "*.x"], "--base-domain says"),
        (["--config", "missing.toml"], "missing.toml"),
        (["--host", "a b"], "--host says"),
    ],
)
def test_a_setting_that_is_wrong_exits_2_naming_it(terminal: Terminal, arguments: list[str], words: str) -> None:
    result = terminal.run("serve", "--data-dir", str(terminal.folder / "data"), *arguments)

    assert result.code == 2
    assert result.err.startswith("clowdy: ")
    assert words in result.err
    assert not (terminal.folder / "data").exists()


def test_the_help_names_every_option_and_not_the_hidden_one(terminal: Terminal) -> None:
    words = terminal.run("serve", "--help").out

    for option in (
        "--data-dir", "--host", "--port", "--runtime", "--public-url", "--base-domain", "--memory-budget",
        "--trust-proxy", "--grace", "--config",
    ):  # fmt: skip
        assert option in words
    assert "--first-run" not in words


def test_a_data_directory_that_is_in_use_exits_1_naming_who_has_it(terminal: Terminal) -> None:
    from clowdy.server.lock import DataLock

    with DataLock.acquire(terminal.folder / "data", ["the", "first"]):
        result = terminal.run("serve", "--data-dir", str(terminal.folder / "data"))

    assert result.code == 1
    assert "(the first): stop it, or choose another --data-dir (CLOWDY_DATA_DIR)" in result.err


@contextmanager
def started(
    folder: Path, admin_token: str | None, unavailable: str | None = None, second_choice: str | None = None
) -> Iterator[Started]:
    """What a server that listens says of itself, with a store of its own."""
    runner = asyncio.Runner()
    with runner:
        store = runner.run(Store.open(folder / "clowdy.db"))
        tokens = Tokens(store)
        yield Started(Config(folder, public_url=URL), tokens, admin_token, unavailable, "a notice", second_choice)
        runner.run(store.close())


def greet(started: Started, capsys: pytest.CaptureFixture[str], *, signs_in: bool = True) -> str:
    capsys.readouterr()
    asyncio.run(welcome(started, signs_in=signs_in))
    out, err = capsys.readouterr()
    return out + err


def test_the_first_start_shows_the_token_and_the_four_commands(
    terminal: Terminal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with started(tmp_path, "clowdy_first") as server:
        words = greet(server, capsys)

    assert "clowdy_first" in words
    assert (
        f"  {credential.command()} init hello\n  cd hello\n  git push clowdy main\n  curl {URL}/api/gateway/hello/\n"
    ) in words
    assert accounts.load().token(URL) == "clowdy_first"
    assert accounts.load().default == URL


def test_a_later_start_for_somebody_else_gives_them_a_token_of_their_own(
    terminal: Terminal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with started(tmp_path, None) as server:
        words = greet(server, capsys)
        token = accounts.load().token(URL)
        assert token is not None
        principal = server.tokens.match(token)

    assert principal is not None
    assert principal.scope is Scope.ADMIN
    assert token not in words


def test_a_kept_token_that_works_stays(terminal: Terminal, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with started(tmp_path, None) as server:
        greet(server, capsys)
        first = accounts.load().token(URL)
        greet(server, capsys)

    assert accounts.load().token(URL) == first


def test_another_default_stays_and_the_commands_still_reach_this_server(
    terminal: Terminal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accounts.remember("https://elsewhere.example", "x")
    with started(tmp_path, "clowdy_first") as server:
        words = greet(server, capsys)

    assert accounts.load().default == "https://elsewhere.example"
    assert accounts.load().token(URL) == "clowdy_first"
    assert f"  CLOWDY_URL={URL} {credential.command()} init hello\n" in words


def test_without_first_run_nobody_is_signed_in(
    terminal: Terminal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with started(tmp_path, "clowdy_first") as server:
        words = greet(server, capsys, signs_in=False)

    assert "clowdy_first" in words
    assert "init hello" not in words
    assert accounts.load().servers == {}


def test_a_settings_file_that_cannot_be_written_does_not_stop_the_server(
    terminal: Terminal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.config.parent.mkdir(parents=True)
    terminal.config.write_text("broken = [")
    with started(tmp_path, "clowdy_first") as server:
        words = greet(server, capsys)

    assert "cannot read" in words
    assert f"CLOWDY_URL={URL} " in words


def test_what_keeps_functions_from_running_is_said(
    terminal: Terminal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with started(tmp_path, None, "the kernel forbids it. Cure: x") as server:
        words = greet(server, capsys)

    assert "clowdy: functions cannot run: the kernel forbids it. Cure: x\n" in words
    assert "functions run in" not in words
    assert "clowdy: a notice\n" in words


def test_why_functions_run_in_what_comes_second_is_said(
    terminal: Terminal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with started(tmp_path, None, second_choice="functions run in docker, since x") as server:
        words = greet(server, capsys)

    assert "clowdy: functions run in docker, since x\n" in words
