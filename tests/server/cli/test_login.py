from __future__ import annotations

import json

import pytest

from clowdy.server.cli import accounts
from tests.server.cli.conftest import PRESET, TOKEN, Terminal
from tests.server.cli.small_server import SmallServer


def test_a_token_is_checked_and_kept(terminal: Terminal, server: SmallServer) -> None:
    result = terminal.run("login", server.url + "/", "--token-stdin", stdin=f"{TOKEN}\n")

    assert (result.code, result.err) == (0, "")
    assert result.out == f"Signed in to {server.url} as ana (scope admin).\n"
    assert accounts.load().token(server.url) == TOKEN
    assert accounts.load().default == server.url
    assert server.last("GET /api/me").authorization == f"Bearer {TOKEN}"


def test_a_refused_token_is_not_kept(terminal: Terminal, server: SmallServer) -> None:
    result = terminal.run("login", server.url, stdin="wrong\n")

    assert result.code == 1
    assert result.err == (f"clowdy: {server.url} refused the token (Invalid token): run clowdy login {server.url}\n")
    assert not terminal.config.exists()


def test_json_is_what_the_api_answers(terminal: Terminal, server: SmallServer) -> None:
    result = terminal.run("login", server.url, "--json", stdin=TOKEN)

    assert json.loads(result.out) == {"name": "ana", "scope": "admin", "project": None}


def test_signing_in_again_needs_no_address(signed_in: Terminal, server: SmallServer) -> None:
    assert signed_in.run("login", stdin=TOKEN).code == 0


def test_a_server_that_does_not_answer_is_named_with_the_way_to_start_it(terminal: Terminal) -> None:
    result = terminal.run("login", "127.0.0.1:1", stdin=TOKEN)

    assert (result.code, result.err) == (
        1,
        "clowdy: no server answers at http://127.0.0.1:1: start it with make run, or clowdy serve\n",
    )


def test_what_is_no_clowdy_server_is_recognised(terminal: Terminal, server: SmallServer) -> None:
    server.on("GET /api/me", b"<html>hello</html>")
    result = terminal.run("login", server.url, stdin=TOKEN)

    assert result.code == 1
    assert "is this the address of a Clowdy server?" in result.err


@pytest.mark.parametrize(
    "token", [b"", b"\n", b"  \n", b"\x1b[31m\n", b"a\tb\n", b"a\0b\n", b"a\xc2\x85b\n", b"\xe9\n"]
)
def test_what_cannot_be_a_token_is_not_sent(terminal: Terminal, server: SmallServer, token: bytes) -> None:
    result = terminal.run("login", server.url, stdin=token)

    assert result.code == 1
    assert server.asked == []


def test_a_preset_token_may_have_any_form(
    terminal: Terminal, server: SmallServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = PRESET
    assert terminal.run("login", server.url, stdin=f"{PRESET}\n").out.startswith(f"Signed in to {server.url} as ana")
    assert accounts.load().token(server.url) == PRESET
    server.on("GET /api/projects", [])
    assert terminal.run("project", "list").code == 0

    terminal.config.unlink()
    monkeypatch.setenv("CLOWDY_TOKEN", PRESET)
    monkeypatch.setenv("CLOWDY_URL", server.url)
    assert terminal.run("project", "list").code == 0


@pytest.mark.parametrize("token", ["secret\nsecret", "secret\x1b", "secret\udce9"])
def test_a_broken_token_is_not_sent_and_not_shown(
    terminal: Terminal, server: SmallServer, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("CLOWDY_TOKEN", token)
    monkeypatch.setenv("CLOWDY_URL", server.url)
    result = terminal.run("project", "list")

    assert result.code == 1
    assert f"the token for {server.url} has a control character" in result.err
    assert "secret" not in result.err
    assert server.asked == []


@pytest.mark.parametrize("url", ["ftp://host", "http://user:pw@host", "http://"])
def test_what_is_no_address_exits_2(terminal: Terminal, url: str) -> None:
    result = terminal.run("login", url, stdin=TOKEN)

    assert result.code == 2
    assert "pw" not in result.err.replace("http", "")


def test_without_any_address_it_says_which_to_give(terminal: Terminal) -> None:
    result = terminal.run("login", stdin=TOKEN)

    assert (result.code, result.err) == (2, "clowdy: which server? clowdy login http://127.0.0.1:8000\n")


def test_a_proxy_is_not_asked_for_this_machine(
    terminal: Terminal, server: SmallServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    assert terminal.run("login", server.url, stdin=TOKEN).code == 0
