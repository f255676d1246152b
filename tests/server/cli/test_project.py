from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.server.cli.conftest import TOKEN, Terminal
from tests.server.cli.small_server import SmallServer

SHOP = {
    "id": "0123456789ab",
    "name": "The Shop",
    "slug": "shop",
    "display_name": "The Shop\x1b[31m",
    "owner": "ana",
    "deploy_branch": "main",
    "function_count": 2,
    "live": {"release": 3, "tag": "deploy/3", "commit": "3f2a1c9", "since": "2026-01-01T00:00:00+00:00", "who": "ana"},
}


@pytest.fixture
def linked(signed_in: Terminal, server: SmallServer) -> Path:
    server.on("GET /api/projects/shop", SHOP)
    server.on("DELETE /api/projects/shop", {"detail": "Project deleted"})
    return signed_in.repository(("clowdy", f"{server.url}/git/shop.git"))


def test_projects_are_listed_by_the_name_that_urls_use(signed_in: Terminal, server: SmallServer) -> None:
    server.on("GET /api/projects", [SHOP])
    result = signed_in.run("project", "list")

    assert result.out.splitlines()[1].split()[:3] == ["shop", "deploy/3", "3f2a1c9"]
    assert [json.loads(line) for line in signed_in.run("project", "list", "--json").out.splitlines()] == [SHOP]


def test_no_project_yet_is_no_error(signed_in: Terminal, server: SmallServer) -> None:
    server.on("GET /api/projects", [])
    result = signed_in.run("project", "list")

    assert (result.code, result.out) == (0, "")
    assert "clowdy init NAME" in result.err


def test_one_project_is_shown_without_acting_on_the_terminal(signed_in: Terminal, linked: Path) -> None:
    result = signed_in.run("project", "show", folder=linked)

    assert "The Shop\N{REPLACEMENT CHARACTER}[31m" in result.out
    assert "deploy/3 (3f2a1c9) since " in result.out


def test_a_rename_takes_the_remote_with_it(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on("PUT /api/projects/shop", SHOP | {"slug": "store"})
    result = signed_in.run("project", "rename", "store", folder=linked)

    assert result.out == "shop is now store.\n"
    assert server.last("PUT /api/projects/shop").content == {"slug": "store"}
    assert signed_in.git("remote", "get-url", "clowdy", folder=linked) == f"{server.url}/git/store.git\n"


def test_a_rename_keeps_the_token_that_a_remote_has_in_itself(
    signed_in: Terminal, server: SmallServer, linked: Path
) -> None:
    host = server.url.removeprefix("http://")
    signed_in.git("remote", "set-url", "clowdy", f"http://x:{TOKEN}@{host}/git/shop.git", folder=linked)
    server.on("PUT /api/projects/shop", SHOP | {"slug": "store"})
    result = signed_in.run("project", "rename", "store", folder=linked)

    assert result.code == 0, result.err
    assert signed_in.git("remote", "get-url", "clowdy", folder=linked) == f"http://x:{TOKEN}@{host}/git/store.git\n"
    assert TOKEN not in result.out + result.err


def test_a_rename_of_another_project_leaves_the_remote(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on("PUT /api/projects/other", SHOP | {"slug": "store"})
    signed_in.run("project", "rename", "store", "-p", "other", folder=linked)

    assert signed_in.git("remote", "get-url", "clowdy", folder=linked) == f"{server.url}/git/shop.git\n"


def test_nothing_is_deleted_without_its_name(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    silent = signed_in.run("project", "delete", folder=linked)
    wrong = signed_in.run("project", "delete", "--yes", "other", folder=linked)

    assert (silent.code, silent.err) == (2, "clowdy: to delete shop, say its name: --yes shop\n")
    assert (wrong.code, wrong.err) == (1, "clowdy: 'other' is not shop: nothing was deleted\n")
    assert all(not asked.what.startswith("DELETE") for asked in server.asked)


def test_a_project_is_deleted_by_its_name(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    result = signed_in.run("project", "delete", "--yes", "shop", folder=linked)

    assert (result.code, result.err) == (0, "")
    assert "clowdy project restore shop" in result.out
    assert server.last("DELETE /api/projects/shop").query == {"confirm": "shop"}


def test_the_name_is_asked_for_also_where_an_id_was_given(signed_in: Terminal, server: SmallServer) -> None:
    server.on("GET /api/projects/0123456789ab", SHOP)
    server.on("DELETE /api/projects/0123456789ab", {"detail": "Project deleted"})

    assert signed_in.run("project", "delete", "0123456789ab", "--yes", "0123456789ab").code == 1
    assert signed_in.run("project", "delete", "0123456789ab", "--yes", "shop").code == 0


def test_a_deleted_project_comes_back(signed_in: Terminal, server: SmallServer) -> None:
    server.on("POST /api/projects/shop/restore", SHOP)

    assert signed_in.run("project", "restore", "shop").out == "Restored shop.\n"


@pytest.mark.parametrize(("verb", "answer"), [("list", {}), ("list", [1]), ("show", []), ("show", "text")])
def test_an_answer_of_another_shape_is_no_traceback(
    signed_in: Terminal, server: SmallServer, linked: Path, verb: str, answer: object
) -> None:
    server.on("GET /api/projects", answer)
    server.on("GET /api/projects/shop", answer)
    result = signed_in.run("project", verb, folder=linked)

    assert result.code == 1
    assert "is this the address of a Clowdy server?" in result.err


def test_what_is_not_there_says_so(signed_in: Terminal, server: SmallServer) -> None:
    server.on("GET /api/projects/gone", {"detail": "Project not found", "request_id": "r"}, status=404)

    result = signed_in.run("project", "show", "gone")
    assert (result.code, result.err) == (1, "clowdy: Project not found\n")
