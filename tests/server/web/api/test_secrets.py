from __future__ import annotations

import pytest

from clowdy.server.people.secrets import before_project
from clowdy.server.people.tokens import Scope
from tests.server.web.world import SHOP, World

PATH = "/api/projects/shop/secrets"


async def test_a_value_is_set_and_never_shown(world: World) -> None:
    status, answer = await world.ask("PUT", f"{PATH}/API_KEY", content={"value": "sk_live_1"})
    _, listed = await world.ask("GET", PATH)

    assert (status, answer) == (200, {"name": "API_KEY", "replaced": 1})
    assert [(item["name"], item["set"], item["declared"], item["updated_by"]) for item in listed] == [
        ("API_KEY", True, True, "admin")
    ]
    assert "sk_live_1" not in str(listed)
    assert await world.secrets.values(SHOP.id) == {"API_KEY": "sk_live_1"}
    assert world.releases.asked == [("secret", SHOP.id, "API_KEY", "admin")]


async def test_a_declared_secret_without_a_value_is_listed(world: World) -> None:
    _, listed = await world.ask("GET", PATH)

    assert [(item["name"], item["set"], item["declared"]) for item in listed] == [("API_KEY", False, True)]


async def test_removing_what_is_live_needs_force(world: World) -> None:
    await world.ask("PUT", f"{PATH}/API_KEY", content={"value": "value"})

    status, answer = await world.ask("DELETE", f"{PATH}/API_KEY")
    assert status == 409
    assert "use --force" in answer["detail"]
    assert (await world.ask("DELETE", f"{PATH}/API_KEY?force=1"))[0] == 200
    assert (await world.ask("DELETE", f"{PATH}/OTHER"))[1]["detail"] == "Secret 'OTHER' not found"


async def test_a_secret_may_come_before_its_project_from_one_who_may_make_it(world: World) -> None:
    path = "/api/projects/new/secrets"
    assert await world.ask("PUT", f"{path}/KEY", content={"value": "value"}) == (200, {"name": "KEY", "replaced": 0})

    assert [item["name"] for item in (await world.ask("GET", path))[1]] == ["KEY"]
    assert await world.secrets.values(before_project("new")) == {"KEY": "value"}
    for token in (await world.token(Scope.DEPLOY), await world.token(Scope.ADMIN, SHOP)):
        status, answer = await world.ask("PUT", f"{path}/KEY", token=token, content={"value": "theirs"})
        assert (status, answer["detail"]) == (404, "Project not found")
    assert (await world.ask("DELETE", f"{path}/KEY"))[0] == 200


@pytest.mark.parametrize(("name", "value"), [("PATH", "x"), ("1", "x"), ("KEY", ""), ("KEY", "x" * 5000)])
async def test_what_no_function_can_have_is_refused(world: World, name: str, value: str) -> None:
    status, _ = await world.ask("PUT", f"{PATH}/{name}", content={"value": value})

    assert status == 422
