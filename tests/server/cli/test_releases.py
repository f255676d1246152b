"""`clowdy releases`, `rollback`, `cancel` and `reconcile`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.server.cli.conftest import Terminal
from tests.server.cli.small_server import SmallServer

SHOP = "/api/projects/shop"
COMMIT = "3f2a1c9" + "0" * 33


def release(number: int, **more: Any) -> dict[str, Any]:
    return {
        "release": number,
        "tag": f"deploy/{number}",
        "commit": COMMIT,
        "subject": "A change\x1b[31m",
        "state": "ready",
        "who": "ana",
        "how": "push to main",
        "created_at": time.time() - 7300 + number,
        "duration_ms": 68.4,
        "functions": [{"id": "a" * 12, "name": "hello", "version": 3, "pinned": False}],
        "previous": number - 1,
        **more,
    }


def push(push_id: str, age: float, **more: Any) -> dict[str, Any]:
    return {
        "id": push_id,
        "who": "bob",
        "refs": [{"old": None, "new": "b" * 40, "ref": "refs/heads/main"}],
        "state": "refused",
        "reason": "clowdy.yaml:1:1 nothing",
        "release": None,
        "started_at": time.time() - age,
        **more,
    }


@pytest.fixture
def linked(signed_in: Terminal, server: SmallServer) -> Path:
    return signed_in.repository(("clowdy", f"{server.url}/git/shop.git"))


def test_releases_stand_newest_first(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on(f"GET {SHOP}/releases", [release(2, state="live"), release(1)])
    result = signed_in.run("releases", folder=linked)

    lines = [line.split("  ") for line in result.out.splitlines()]
    assert result.code == 0
    assert [line[0] for line in lines] == ["RELEASE", "deploy/2", "deploy/1"]
    assert "live" in lines[1]
    assert "2 h ago" in lines[1]
    assert "\x1b" not in result.out


def test_refused_pushes_stand_among_them_when_asked_for(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on(f"GET {SHOP}/releases", [release(2), release(1, created_at=time.time() - 9000)])
    server.on(f"GET {SHOP}/pushes", [push("f" * 12, 8000), push("e" * 12, 7000, release=2, state="live")])
    result = signed_in.run("releases", "--all", "--json", folder=linked)

    shown = [json.loads(line) for line in result.out.splitlines()]
    assert [one.get("tag") or one["id"] for one in shown] == ["deploy/2", "f" * 12, "deploy/1"]
    assert "push ffffffffffff  refused  bbbbbbb" in signed_in.run("releases", "--all", folder=linked).out


def test_no_release_yet_is_no_error(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on(f"GET {SHOP}/releases", [])
    result = signed_in.run("releases", folder=linked)

    assert (result.code, result.out) == (0, "")
    assert "git push clowdy main makes the first" in result.err


@pytest.mark.parametrize("which", ["2", "deploy/2"])
def test_one_release_with_what_its_push_said(
    signed_in: Terminal, server: SmallServer, linked: Path, which: str
) -> None:
    server.on(f"GET {SHOP}/releases/2", release(2, output="Plan for x\nswitched\x1b[2J\n", plan=None))
    result = signed_in.run("releases", "show", which, folder=linked)

    assert result.code == 0
    assert "deploy/2  ready" in result.out
    assert "hello  v3" in result.out
    assert result.out.endswith("output\nPlan for x\nswitched\N{REPLACEMENT CHARACTER}[2J\n")


def test_a_release_without_a_push_shows_its_plan(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    rows = [{"sign": "~", "kind": "function", "name": "hello", "text": "v1→v2 code +1 −1", "warning": ""}]
    plan = {
        "commit": COMMIT,
        "release": None,
        "live": 1,
        "live_commit": "c" * 40,
        "rows": rows,
        "since": "",
        "notes": [],
    }
    server.on(f"GET {SHOP}/releases/2", release(2, output="", plan=plan | {"rows": rows}))
    result = signed_in.run("releases", "show", "2", folder=linked)

    assert " ~ function hello  v1→v2 code +1 −1\n" in result.out


def test_one_push_by_its_id_also_a_refused_one(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    refused = push("0123456789ab", 60, output="clowdy.yaml:1:1: error[empty] nothing\n")
    server.on(f"GET {SHOP}/pushes/0123456789ab", refused)
    result = signed_in.run("releases", "show", "0123456789ab", folder=linked)

    assert "push 0123456789ab  refused" in result.out
    assert "clowdy.yaml:1:1: error[empty] nothing\n" in result.out
    assert json.loads(signed_in.run("releases", "show", "0123456789ab", "--json", folder=linked).out) == refused


def test_what_is_neither_number_nor_id_exits_2(signed_in: Terminal, linked: Path) -> None:
    result = signed_in.run("releases", "show", "../x", folder=linked)

    assert result.code == 2
    assert "see clowdy releases --all" in result.err


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ([], {}),
        (["41"], {"to": "deploy/41"}),
        (["deploy/41"], {"to": "deploy/41"}),
        (["clowdy/deploy/41"], {"to": "deploy/41"}),
        (["v1.2", "-m", "too slow"], {"to": "v1.2", "reason": "too slow"}),
        (["abcdef1"], {"to": "abcdef1"}),
    ],
)
def test_a_rollback_names_what_the_server_can_find(
    signed_in: Terminal, server: SmallServer, linked: Path, arguments: list[str], sent: dict[str, str]
) -> None:
    server.on(
        f"POST {SHOP}/rollback", {"release": 41, "tag": "deploy/41", "commit": COMMIT, "lines": ["gone\x07 back"]}
    )
    result = signed_in.run("rollback", *arguments, folder=linked)

    assert (result.code, result.out, result.err) == (0, "gone\N{REPLACEMENT CHARACTER} back\n", "")
    assert server.last(f"POST {SHOP}/rollback").content == sent


@pytest.mark.parametrize("text", ["HEAD", "HEAD^{}", "main~0", "{short}"])
def test_a_commit_of_this_repository_is_sent_whole(
    signed_in: Terminal, server: SmallServer, linked: Path, text: str
) -> None:
    server.on(f"POST {SHOP}/rollback", {"tag": "deploy/1", "commit": COMMIT})
    head = signed_in.git("rev-parse", "HEAD", folder=linked).strip()
    result = signed_in.run("rollback", text.format(short=head[:8]) if "short" in text else text, folder=linked)

    assert result.out == "deploy/1 (3f2a1c9) is live\n"
    assert server.last(f"POST {SHOP}/rollback").content == {"to": head}


def test_an_expression_that_names_nothing_is_not_sent(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    result = signed_in.run("rollback", "HEAD~7", folder=linked)

    assert (result.code, result.err) == (1, "clowdy: 'HEAD~7' is no commit of this repository\n")
    assert server.asked[-1].what == "GET /api/me"


def test_a_live_that_moved_meanwhile_is_a_failure(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on(f"POST {SHOP}/rollback", {"detail": "live moved to deploy/9", "request_id": "r"}, status=409)

    result = signed_in.run("rollback", folder=linked)
    assert (result.code, result.err) == (1, "clowdy: live moved to deploy/9\n")


def test_problems_stand_as_in_a_push(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    problem = {"file": "clowdy.yaml", "line": 3, "col": 10, "code": "x", "message": "no\x1b", "hint": "do"}
    server.on(f"POST {SHOP}/rollback", {"detail": "refused", "problems": [problem, "odd"]}, status=422)

    result = signed_in.run("rollback", folder=linked)
    assert result.err == "clowdy: refused\nclowdy.yaml:3:10: error[x] no\N{REPLACEMENT CHARACTER}: do\n"


def test_the_running_push_is_cancelled_or_the_named_one(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on(f"POST {SHOP}/cancel", {"id": "0123456789ab"})
    server.on(f"POST {SHOP}/pushes/ba9876543210/cancel", {"id": "ba9876543210"})

    assert signed_in.run("cancel", folder=linked).out == "Cancelled push 0123456789ab.\n"
    assert signed_in.run("cancel", "ba9876543210", folder=linked).out == "Cancelled push ba9876543210.\n"
    result = signed_in.run("cancel", "../../tokens", folder=linked)
    assert result.code == 1


def test_reconcile_is_for_the_project_here_or_for_all(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on("POST /api/reconcile", {"lines": ["shop: nothing was missing"]})

    assert signed_in.run("reconcile", folder=linked).out == "shop: nothing was missing\n"
    assert server.last("POST /api/reconcile").content == {"project": "shop"}
    signed_in.run("reconcile")
    assert server.last("POST /api/reconcile").content == {}


def test_an_inner_error_names_its_request(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on(f"POST {SHOP}/cancel", {"detail": "Internal server error", "request_id": "abc"}, status=500)

    assert signed_in.run("cancel", folder=linked).err == "clowdy: Internal server error (request abc)\n"
