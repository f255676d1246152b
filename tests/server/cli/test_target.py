from __future__ import annotations

import pytest

from clowdy.server.cli import accounts
from tests.server.cli.conftest import TOKEN, Terminal
from tests.server.cli.small_server import SmallServer

SHOP = {"id": "0" * 12, "name": "shop", "slug": "shop", "owner": "ana", "live": None}


@pytest.fixture(autouse=True)
def shop(server: SmallServer) -> None:
    server.on("GET /api/projects/shop", SHOP)
    server.on("GET /api/projects/other", SHOP | {"slug": "other"})


def test_the_project_is_the_remotes(signed_in: Terminal, server: SmallServer) -> None:
    folder = signed_in.repository(("clowdy", f"{server.url}/git/shop.git"))

    assert "shop" in signed_in.run("project", "show", folder=folder / "functions").out


def test_another_remote_can_be_named(signed_in: Terminal, server: SmallServer) -> None:
    folder = signed_in.repository(("clowdy", f"{server.url}/git/shop.git"), ("staging", f"{server.url}/git/other.git"))

    assert signed_in.run("project", "show", "--remote", "staging", folder=folder).code == 0
    assert server.asked[-1].what == "GET /api/projects/other"


def test_a_remote_that_names_no_project_is_refused(signed_in: Terminal) -> None:
    folder = signed_in.repository(("origin", "https://github.com/ana/shop.git"))
    result = signed_in.run("project", "show", "--remote", "origin", folder=folder)

    assert result.code == 1
    assert "names no project of a Clowdy server" in result.err


def test_p_names_another_project_on_the_remotes_server(signed_in: Terminal, server: SmallServer) -> None:
    folder = signed_in.repository(("clowdy", f"{server.url}/git/shop.git"))
    accounts.remember("http://127.0.0.1:1", "elsewhere", default=True)

    assert signed_in.run("project", "show", "-p", "other", folder=folder).code == 0
    assert server.asked[-1].what == "GET /api/projects/other"


def test_outside_of_a_repository_the_default_server_is_meant(signed_in: Terminal, server: SmallServer) -> None:
    assert signed_in.run("project", "show", "shop").code == 0


def test_without_a_project_it_says_how_to_name_one(signed_in: Terminal) -> None:
    result = signed_in.run("logs")

    assert result.code == 1
    assert "run clowdy link PROJECT, or name one with -p" in result.err


def test_without_a_server_it_says_how_to_name_one(terminal: Terminal) -> None:
    result = terminal.run("project", "list")

    assert (result.code, result.err) == (
        1,
        "clowdy: no server is known: run clowdy login URL, or set CLOWDY_URL\n",
    )


def test_someone_without_a_token_is_told_to_sign_in(terminal: Terminal, server: SmallServer) -> None:
    folder = terminal.repository(("clowdy", f"{server.url}/git/shop.git"))
    result = terminal.run("project", "show", folder=folder)

    assert (result.code, result.err) == (
        1,
        f"clowdy: not signed in to {server.url}: run clowdy login {server.url}\n",
    )


def test_a_password_in_the_remote_is_a_token_for_its_server(terminal: Terminal, server: SmallServer) -> None:
    url = server.url.replace("http://", f"http://any:{TOKEN}@")
    folder = terminal.repository(("clowdy", f"{url}/git/shop.git"))

    assert terminal.run("project", "show", folder=folder).code == 0


def test_the_environment_overrides_server_and_token(
    terminal: Terminal, server: SmallServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = terminal.repository(("clowdy", "http://any:other@127.0.0.1:1/git/shop.git"))
    monkeypatch.setenv("CLOWDY_URL", server.url)
    monkeypatch.setenv("CLOWDY_TOKEN", TOKEN)

    assert terminal.run("project", "show", folder=folder).code == 0


def test_a_password_in_the_remote_goes_to_no_other_server(
    terminal: Terminal, server: SmallServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = terminal.repository(("clowdy", "http://any:other-servers@127.0.0.1:1/git/shop.git"))
    monkeypatch.setenv("CLOWDY_URL", server.url)
    terminal.run("project", "show", folder=folder)

    assert server.asked[-1].authorization is None


def test_an_address_in_the_environment_that_is_none_exits_2(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOWDY_URL", "ftp://host")

    assert terminal.run("project", "list").code == 2
