from __future__ import annotations

import pytest

from clowdy.server.people.tokens import Scope
from tests.server.web.world import COMMIT, HELLO, SHOP, World


async def test_releases_newest_first_with_what_they_hold(world: World) -> None:
    _, (release,) = await world.ask("GET", "/api/projects/shop/releases")

    assert (release["release"], release["tag"], release["state"]) == (1, "deploy/1", "live")
    assert (release["commit"], release["subject"], release["duration_ms"]) == (COMMIT, "Say hello", 12.3)
    assert release["functions"] == [{"id": HELLO, "name": "hello", "version": 3, "pinned": False}]


@pytest.mark.parametrize("number", ["1", "deploy%2F1"])
async def test_one_release_with_its_plan_and_what_its_push_said(world: World, number: str) -> None:
    _, release = await world.ask("GET", f"/api/projects/shop/releases/{number}")

    assert release["plan"] == {"rows": []}
    assert release["output"] == "what it said\n"


@pytest.mark.parametrize("number", ["2", "x", "-1", "9" * 30, "%C2%B2"])
async def test_a_release_that_is_not_there(world: World, number: str) -> None:
    status, answer = await world.ask("GET", f"/api/projects/shop/releases/{number}")

    assert (status, answer["detail"]) == (404, "Release not found")


async def test_the_way_back_needs_no_more_than_deploy(world: World) -> None:
    token = await world.token(Scope.DEPLOY, SHOP)

    status, outcome = await world.ask("POST", "/api/projects/shop/rollback", token=token)

    assert (status, outcome["release"], outcome["tag"], outcome["before"]) == (200, 1, "deploy/1", 2)
    assert outcome["lines"] == ["live: deploy/1"]
    assert world.releases.asked == [("rollback", SHOP.id, None, "deploy token", "")]


async def test_where_to_and_why_are_handed_on(world: World) -> None:
    await world.ask("POST", "/api/projects/shop/rollback", content={"to": "v1.2", "reason": "broken"})
    status, answer = await world.ask("POST", "/api/projects/shop/rollback", content={"to": "deploy/9"})

    assert world.releases.asked[0] == ("rollback", SHOP.id, "v1.2", "admin", "broken")
    assert (status, answer["detail"]) == (422, "deploy/9 was never live")


async def test_refused_pushes_are_listed_when_asked_for(world: World) -> None:
    _, did = await world.ask("GET", "/api/projects/shop/pushes")
    _, everything = await world.ask("GET", "/api/projects/shop/pushes?all=1")

    assert [push["id"] for push in did] == ["live00000000"]
    assert [push["id"] for push in everything] == ["refused00000", "live00000000"]
    assert did[0]["refs"] == [{"old": "0" * 40, "new": COMMIT, "ref": "refs/heads/main"}]
    assert "output" not in did[0]


async def test_a_push_is_found_in_its_own_project_alone(world: World) -> None:
    _, push = await world.ask("GET", "/api/projects/shop/pushes/refused00000")
    status, answer = await world.ask("GET", "/api/projects/other/pushes/refused00000")

    assert (push["state"], push["output"]) == ("refused", "what it said\n")
    assert (status, answer["detail"]) == (404, "Push not found")


async def test_cancelling_names_the_running_push_or_one(world: World) -> None:
    status, answer = await world.ask("POST", "/api/projects/shop/cancel")
    await world.ask("POST", "/api/projects/shop/pushes/live00000000/cancel")

    assert (status, answer["detail"]) == (404, "no push is running in this project")
    assert world.releases.asked == [
        ("cancel", SHOP.id, None, "admin"),
        ("cancel", SHOP.id, "live00000000", "admin"),
    ]


@pytest.mark.parametrize("limit", ["0", "x", "-1", "1001", "²"])
async def test_a_limit_is_a_number(world: World, limit: str) -> None:
    status, answer = await world.ask("GET", f"/api/projects/shop/releases?limit={limit}")

    assert (status, answer["detail"]) == (422, "limit is a whole number from 1 to 1000")
