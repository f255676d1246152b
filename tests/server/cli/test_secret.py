from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.server.cli.conftest import Terminal
from tests.server.cli.small_server import SmallServer

PATH = "/api/projects/shop/secrets"


@pytest.fixture
def linked(signed_in: Terminal, server: SmallServer) -> Path:
    server.on(f"PUT {PATH}/KEY", {"name": "KEY", "replaced": 2})
    return signed_in.repository(("clowdy", f"{server.url}/git/shop.git"))


@pytest.mark.parametrize(
    ("stdin", "value"),
    [
        ("value", "value"),
        ("value\n", "value"),
        ("value\n\n", "value\n"),
        (" a\nb ", " a\nb "),
        ("é\n", "é"),
        ("\r\n", "\r"),
    ],
)
def test_the_value_comes_from_standard_input_less_one_newline(
    signed_in: Terminal, server: SmallServer, linked: Path, stdin: str, value: str
) -> None:
    result = signed_in.run("secret", "set", "KEY", stdin=stdin, folder=linked)

    assert (result.code, result.out) == (0, "Set KEY. 2 instances that had the old value are replaced.\n")
    assert server.last(f"PUT {PATH}/KEY").content == {"value": value}


@pytest.mark.parametrize("stdin", [b"", b"\n", b"\xff\xfe", b"x" * 70_000])
def test_what_is_no_value_changes_nothing(signed_in: Terminal, server: SmallServer, linked: Path, stdin: bytes) -> None:
    result = signed_in.run("secret", "set", "KEY", stdin=stdin, folder=linked)

    assert result.code == 1
    assert all(not asked.what.startswith("PUT") for asked in server.asked)


def test_a_value_on_the_command_line_is_refused_without_repeating_it(signed_in: Terminal, linked: Path) -> None:
    result = signed_in.run("secret", "set", "KEY=hidden", folder=linked)

    assert result.code == 2
    assert "standard input" in result.err
    assert "hidden" not in result.err


@pytest.mark.parametrize("name", ["1KEY", "a-b", "../x", ""])
def test_a_name_that_no_variable_has_is_refused(signed_in: Terminal, linked: Path, name: str) -> None:
    assert signed_in.run("secret", "set", name, stdin="x", folder=linked).code == 2


def test_secrets_are_listed_without_values(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    secrets = [
        {"name": "KEY", "set": True, "declared": True, "updated_at": 1.0, "updated_by": "ana"},
        {"name": "OTHER", "set": False, "declared": True, "updated_at": None, "updated_by": None},
    ]
    server.on(f"GET {PATH}", secrets)
    result = signed_in.run("secret", "list", folder=linked)

    assert [line.split()[:3] for line in result.out.splitlines()[1:]] == [["KEY", "yes", "yes"], ["OTHER", "no", "yes"]]
    assert [json.loads(line) for line in signed_in.run("secret", "list", "--json", folder=linked).out.splitlines()] == (
        secrets
    )


def test_no_secrets_are_no_error(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on(f"GET {PATH}", [])
    result = signed_in.run("secret", "list", folder=linked)

    assert (result.code, result.out) == (0, "")


def test_a_removal_is_forced_only_when_it_is_said(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on(f"DELETE {PATH}/KEY", {"name": "KEY"})
    signed_in.run("secret", "rm", "KEY", folder=linked)
    assert server.last(f"DELETE {PATH}/KEY").query == {}

    assert signed_in.run("secret", "rm", "KEY", "--force", folder=linked).out == "Removed KEY.\n"
    assert server.last(f"DELETE {PATH}/KEY").query == {"force": "1"}
