from __future__ import annotations

from clowdy.server.people.tokens import Scope
from tests.server.web.world import HELLO, OTHER, SHOP, World


async def test_functions_of_what_is_live(world: World) -> None:
    _, (hello,) = await world.ask("GET", "/api/projects/shop/functions")

    assert (hello["id"], hello["name"], hello["version"], hello["release"]) == (HELLO, "hello", 3, 1)
    assert (hello["project_id"], hello["project"], hello["runtime"]) == (SHOP.id, "shop", "python")
    assert (hello["status"], hello["network_enabled"], hello["network"]) == ("active", False, False)
    assert hello["invoke_url"] == f"http://127.0.0.1:8000/api/invoke/{HELLO}"
    assert {"description", "code", "created_at", "updated_at", "timeout", "memory"} <= set(hello)
    assert (await world.ask("GET", "/api/projects/other/functions")) == (200, [])


async def test_one_function_comes_with_its_code(world: World) -> None:
    _, hello = await world.ask("GET", f"/api/functions/{HELLO}")

    assert hello["code"].startswith("def handler")
    assert (await world.ask("GET", "/api/functions/nothing"))[1]["detail"] == "Function not found"


async def test_every_function_that_the_token_may_see(world: World) -> None:
    assert [item["id"] for item in (await world.ask("GET", "/api/functions"))[1]] == [HELLO]
    assert (await world.ask("GET", "/api/functions", token=await world.token(Scope.READ, OTHER)))[1] == []


async def test_routes_come_by_path_and_method_with_lasting_ids(world: World) -> None:
    _, routes = await world.ask("GET", "/api/projects/shop/routes")

    assert [(route["method"], route["path"], route["function"]) for route in routes] == [
        ("ANY", "/", "hello"),
        ("GET", "/users", "hello"),
    ]
    assert routes[0]["function_id"] == HELLO
    assert (await world.ask("GET", "/api/projects/shop/routes"))[1] == routes
