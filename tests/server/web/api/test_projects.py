from __future__ import annotations

import pytest

from clowdy.server.people.tokens import Scope
from clowdy.server.web.slugs import slug
from tests.server.web.world import COMMIT, OTHER, SHOP, World


async def test_a_project_is_shown_with_what_serves_it(world: World) -> None:
    status, shop = await world.ask("GET", "/api/projects/shop")

    assert status == 200
    assert shop["id"] == SHOP.id
    assert (shop["name"], shop["slug"], shop["display_name"]) == ("The Shop", "shop", "The Shop")
    assert shop["deploy_branch"] == "main"
    assert shop["function_count"] == 1
    assert shop["live"] == {
        "release": 1,
        "tag": "deploy/1",
        "commit": COMMIT,
        "since": "1970-01-01T00:02:31+00:00",
        "who": "ana",
        "how": "push",
    }
    assert shop["url"] == "http://127.0.0.1:8000/api/gateway/shop/"
    assert shop["git_url"] == "http://127.0.0.1:8000/git/shop.git"
    assert shop["requirements_txt"] == "httpx"
    assert {"status", "has_database", "created_at", "updated_at", "description"} <= set(shop)


async def test_requirements_are_shown_with_the_digest_of_their_lock(world: World) -> None:
    status, shown = await world.ask("GET", "/api/projects/shop/requirements")
    assert status == 200
    assert shown == {"requirements_txt": "httpx", "requirements_hash": "", "has_custom_image": False}


@pytest.mark.parametrize("ref", [OTHER.id, "other", "before"])
async def test_id_name_and_old_name_lead_to_a_project(world: World, ref: str) -> None:
    status, project = await world.ask("GET", f"/api/projects/{ref}")

    assert (status, project["slug"], project["live"]) == (200, "other", None)


@pytest.mark.parametrize("ref", ["missing", "0" * 12, "%00", "..%2fshop", "%ff"])
async def test_what_is_not_there_is_not_found(world: World, ref: str) -> None:
    status, answer = await world.ask("GET", f"/api/projects/{ref}")

    assert (status, answer["detail"]) == (404, "Project not found")


async def test_a_list_has_what_the_token_may_see_newest_first(world: World) -> None:
    _, everything = await world.ask("GET", "/api/projects")
    _, mine = await world.ask("GET", "/api/projects", token=await world.token(Scope.READ, OTHER))

    assert [project["slug"] for project in everything] == ["shop", "other"]
    assert [project["slug"] for project in mine] == ["other"]


async def test_a_project_made_by_hand_keeps_its_title_and_gets_a_free_name(world: World) -> None:
    titles = ("My API!", "My API!", "shop", "www")
    made = [(await world.ask("POST", "/api/projects", content={"name": title}))[1] for title in titles]

    assert [project["slug"] for project in made] == ["my-api", "my-api-1", "shop-1", "www-1"]
    assert made[0]["name"] == "My API!"
    assert made[0]["owner"] == "admin"


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("My API!", "my-api"),
        ("snake_case  and spaces", "snake-case-and-spaces"),
        ("Grüße", "gruße".replace("ß", "e").replace("uee", "ue")),
        ("2048", "p-2048"),
        ("***", "project"),
        ("日本語", "project"),
        ("a", "project-a"),
        ("x" * 60, "x" * 40),
        ("x" * 39 + " y", "x" * 39),
    ],
)
def test_a_name_is_made_of_a_title(title: str, name: str) -> None:
    assert slug(title) == name


async def test_a_title_that_stays_does_not_change_the_name(world: World) -> None:
    _, shop = await world.ask("PUT", "/api/projects/shop", content={"name": "Shop", "description": "sells"})

    assert (shop["slug"], shop["name"], shop["description"]) == ("shop", "Shop", "sells")
    assert world.releases.asked == []


async def test_only_what_is_sent_changes(world: World) -> None:
    _, shop = await world.ask("PUT", "/api/projects/shop", content={"description": "sells"})

    assert (shop["slug"], shop["name"], shop["description"]) == ("shop", "The Shop", "sells")


async def test_a_rename_keeps_the_old_name_as_an_alias(world: World) -> None:
    _, store = await world.ask("PUT", "/api/projects/shop", content={"name": "store"})

    assert (store["slug"], store["name"], store["aliases"]) == ("store", "store", ["shop"])
    assert world.releases.asked == [("renamed", "store")]
    assert (await world.ask("GET", "/api/projects/shop"))[1]["slug"] == "store"


async def test_an_exact_name_that_is_taken_is_a_conflict(world: World) -> None:
    status, answer = await world.ask("PUT", "/api/projects/shop", content={"slug": "other"})

    assert (status, answer["detail"]) == (409, "there is a project other already")


async def test_deleting_wants_the_name_and_can_be_taken_back(world: World) -> None:
    assert (await world.ask("DELETE", "/api/projects/shop"))[0] == 422
    assert (await world.ask("DELETE", "/api/projects/shop?confirm=other"))[0] == 422
    assert await world.ask("DELETE", "/api/projects/shop?confirm=shop") == (200, {"detail": "Project deleted"})
    assert (await world.ask("GET", "/api/projects/shop"))[0] == 404
    assert [item["slug"] for item in (await world.ask("GET", "/api/projects?deleted=1"))[1]] == ["shop"]

    status, shop = await world.ask("POST", "/api/projects/shop/restore")

    assert (status, shop["status"]) == (200, "active")
    assert world.releases.asked == [("restored", "shop")]


async def test_restoring_what_is_not_deleted_says_so(world: World) -> None:
    assert (await world.ask("POST", "/api/projects/shop/restore"))[0] == 409
    assert (await world.ask("POST", "/api/projects/missing/restore"))[0] == 404


async def test_history_tells_what_went_live(world: World) -> None:
    _, entries = await world.ask("GET", "/api/projects/shop/history")

    assert [(entry["release"], entry["before"], entry["who"], entry["how"]) for entry in entries] == [
        (1, None, "ana", "push")
    ]
