from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace

from clowdy.server.people.tokens import Scope
from tests.server.web.world import ADMIN, OTHER, SHOP, World, basic


async def page(world: World, password: str = ADMIN, user: str = "anyone") -> tuple[int, str]:
    async with world.client.get("/", headers=basic(user, password)) as response:
        return response.status, await response.text()


async def test_it_shows_what_is_live_and_how_to_begin(world: World) -> None:
    status, text = await page(world)

    assert status == 200
    for words in ("shop", "The Shop", "deploy/1", "ccccccc", "GET /users", "Nothing is live yet."):
        assert words in text
    assert "clowdy init hello\ncd hello\ngit push clowdy main\n" in text
    assert "curl http://127.0.0.1:8000/api/gateway/hello/" in text


async def test_any_user_name_will_do_and_no_token_will_not(world: World) -> None:
    assert (await page(world, user=""))[0] == 200
    assert (await page(world, password="wrong"))[0] == 401
    async with world.client.get("/") as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == 'Basic realm="clowdy"'


async def test_a_token_of_one_project_sees_that_one(world: World) -> None:
    _, text = await page(world, password=await world.token(Scope.READ, OTHER))

    assert "other" in text
    assert "The Shop" not in text


async def test_its_policy_allows_its_own_style_and_nothing_else(world: World) -> None:
    async with world.client.get("/", headers=basic("x", ADMIN)) as response:
        policy, text = response.headers["Content-Security-Policy"], await response.text()

    style = re.search(r"<style>(.*)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert "<script" not in text
    assert not re.search(r"\sstyle=|\son\w+=", text)


async def test_what_people_write_is_text_and_nothing_else(world: World) -> None:
    evil = "<script>alert(1)</script>\"'\N{RIGHT-TO-LEFT OVERRIDE}"
    await world.ask("PUT", "/api/projects/shop", content={"display_name": evil})
    serving = world.releases.servings[SHOP.id]
    world.releases.servings[SHOP.id] = replace(serving, problems={"hello": evil})

    _, text = await page(world)

    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in text
