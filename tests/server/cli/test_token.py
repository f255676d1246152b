from __future__ import annotations

import getpass
import json

import pytest

from tests.server.cli.conftest import Terminal
from tests.server.cli.small_server import SmallServer

MADE = {"id": "0123456789ab", "name": "ana", "scope": "admin", "project": None, "token": "clowdy_0123456789ab_x"}


@pytest.fixture(autouse=True)
def tokens(server: SmallServer) -> None:
    server.on("POST /api/tokens", MADE)
    server.on(
        "GET /api/tokens",
        [
            {"id": "0123456789ab", "name": "ana", "scope": "admin", "created_at": 1.0},
            {"id": "a" * 12, "name": "ci", "scope": "deploy", "project": "shop"},
            {"id": "b" * 12, "name": "ci", "scope": "deploy", "project": "other"},
        ],
    )
    for token in ("0123456789ab", "a" * 12):
        server.on(f"DELETE /api/tokens/{token}", {"detail": "Token revoked"})


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (["ana"], {"name": "ana", "scope": "admin"}),
        (["ci", "--project", "shop"], {"name": "ci", "scope": "deploy", "project": "shop"}),
        (["ci", "--scope", "read"], {"name": "ci", "scope": "read"}),
        (["--user", "bob"], {"name": "bob", "scope": "admin", "user": "bob"}),
        ([], {"name": getpass.getuser(), "scope": "admin"}),
    ],
)
def test_a_token_stands_alone_on_the_last_line(
    signed_in: Terminal, server: SmallServer, arguments: list[str], sent: dict[str, str]
) -> None:
    result = signed_in.run("token", "create", *arguments)

    assert (result.code, result.out) == (0, "clowdy_0123456789ab_x\n")
    assert server.last("POST /api/tokens").content == sent


def test_as_json_it_is_what_the_api_answers(signed_in: Terminal) -> None:
    assert json.loads(signed_in.run("token", "create", "ana", "--json").out) == MADE


def test_tokens_are_listed_without_their_secret(signed_in: Terminal) -> None:
    result = signed_in.run("token", "list")

    assert result.out.splitlines()[1].split()[:3] == ["0123456789ab", "ana", "admin"]
    assert len(signed_in.run("token", "list", "--json").out.splitlines()) == 3


@pytest.mark.parametrize("which", ["ana", "0123456789ab", "clowdy_0123456789ab_secret"])
def test_a_token_is_revoked_by_id_by_name_or_by_itself(signed_in: Terminal, server: SmallServer, which: str) -> None:
    result = signed_in.run("token", "revoke", which)

    assert (result.code, result.out) == (0, "Revoked 0123456789ab (ana).\n")
    assert server.asked[-1].what == "DELETE /api/tokens/0123456789ab"


def test_a_name_that_several_have_is_not_enough(signed_in: Terminal, server: SmallServer) -> None:
    result = signed_in.run("token", "revoke", "ci")

    assert result.code == 1
    assert "there are 2 tokens named ci: name one by its id: aaaaaaaaaaaa, bbbbbbbbbbbb" in result.err
    assert server.asked[-1].what == "GET /api/tokens"


def test_a_token_that_is_not_known_is_not_repeated(signed_in: Terminal) -> None:
    result = signed_in.run("token", "revoke", "clowdy_ffffffffffff_verysecret")

    assert result.code == 1
    assert "verysecret" not in result.err
