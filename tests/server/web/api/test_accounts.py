from __future__ import annotations

import pytest

from clowdy.server.people.tokens import Scope
from tests.server.web.world import OTHER, World


async def test_who_i_am(world: World) -> None:
    _, admin = await world.ask("GET", "/api/me")
    _, other = await world.ask("GET", "/api/me", token=await world.token(Scope.READ, OTHER))

    assert (admin["name"], admin["scope"], admin["project"]) == ("admin", "admin", None)
    assert (other["name"], other["scope"], other["project"]) == ("read token", "read", "other")


async def test_a_token_is_made_shown_once_used_and_revoked(world: World) -> None:
    status, made = await world.ask("POST", "/api/tokens", content={"name": "ci", "scope": "read", "project": "other"})
    assert status == 200
    assert (made["name"], made["scope"], made["project"]) == ("ci", "read", "other")
    assert (await world.ask("GET", "/api/projects/other", token=made["token"]))[0] == 200

    _, listed = await world.ask("GET", "/api/tokens")
    assert listed[0]["id"] == made["id"]
    assert made["token"] not in str(listed)
    assert "digest" not in listed[0]

    assert (await world.ask("DELETE", f"/api/tokens/{made['id']}"))[0] == 200
    assert (await world.ask("GET", "/api/me", token=made["token"]))[1]["detail"] == "Invalid token"
    assert (await world.ask("DELETE", f"/api/tokens/{made['id']}"))[1]["detail"] == "Token not found"


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({}, 422),
        ({"name": "ci", "scope": "root"}, 422),
        ({"name": "admin"}, 422),
        ({"name": "ci", "project": "missing"}, 404),
    ],
)
async def test_a_token_that_cannot_be_made(world: World, content: dict[str, str], status: int) -> None:
    assert (await world.ask("POST", "/api/tokens", content=content))[0] == status


async def test_without_a_scope_a_token_deploys(world: World) -> None:
    assert (await world.ask("POST", "/api/tokens", content={"user": "ana"}))[1]["scope"] == "deploy"
