from __future__ import annotations

import asyncio

import pytest

from clowdy.server.people.tokens import Scope
from clowdy.server.web.api import invocations
from clowdy.server.web.services import Missed
from tests.server.web.world import ADMIN, HELLO, OTHER, SHOP, World

CALL = {"id": "0123456789ff", "project_id": SHOP.id, "function_id": HELLO, "status": "success"}
PATH = "/api/projects/shop/invocations"


async def test_calls_are_asked_for_as_the_query_says(world: World) -> None:
    world.calls.logged.append(CALL)

    assert (await world.ask("GET", f"{PATH}?function=hello&limit=7&before=0123456789aa&search=x"))[1] == [CALL]
    await world.ask("GET", f"{PATH}?function={HELLO}")

    first, second = world.calls.wanted
    assert (first.function_id, first.limit, first.before, first.search) == (HELLO, 7, "0123456789aa", "x")
    assert (second.function_id, second.limit, second.before) == (HELLO, 50, None)
    assert (await world.ask("GET", f"{PATH}?function=nothing"))[1]["detail"] == "Function not found"


@pytest.mark.parametrize("before", ["x", "-1", "0123456789ABCDEF", "deploy/1"])
async def test_a_page_begins_at_a_call(world: World, before: str) -> None:
    assert (await world.ask("GET", f"{PATH}?before={before}"))[0] == 422


async def test_one_call_and_those_of_a_function_need_a_token_that_sees_them(world: World) -> None:
    world.calls.logged.append(CALL)
    other = await world.token(Scope.ADMIN, OTHER)

    for path, answer in ((f"/api/invocations/{CALL['id']}", CALL), (f"/api/functions/{HELLO}/invocations", [CALL])):
        assert await world.ask("GET", path) == (200, answer)
        assert (await world.ask("GET", path, token=other))[0] == 404
        assert (await world.ask("GET", path, token=None))[0] == 401


async def test_numbers_are_whole_and_of_what_the_token_sees(world: World) -> None:
    world.calls.logged += [CALL, CALL, CALL | {"status": "error"}]

    assert (await world.ask("GET", "/api/stats"))[1] == {
        "total_functions": 1,
        "total_invocations": 3,
        "success_rate": 67,
        "avg_duration_ms": 10,
    }
    assert (await world.ask("GET", "/api/stats", token=await world.token(Scope.READ, OTHER)))[1] == {
        "total_functions": 0,
        "total_invocations": 0,
        "success_rate": 0,
        "avg_duration_ms": 0,
    }


async def test_calls_come_as_events_until_the_log_ends(world: World) -> None:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    async with world.client.get(f"{PATH}/stream", headers=headers) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert "X-Request-Id" in response.headers
        await world.calls.coming.put({"id": "1", "log": "one\ntwo"})
        await world.calls.coming.put(Missed(3))
        await world.calls.coming.put(None)
        text = (await response.read()).decode()

    assert [line for line in text.split("\n\n") if line.startswith("data:")] == ['data: {"id":"1","log":"one\\ntwo"}']
    assert ": 3 calls were left out\n\n" in text


async def test_streams_end_when_the_server_stops(world: World) -> None:
    async with world.client.get(f"{PATH}/stream", headers={"Authorization": f"Bearer {ADMIN}"}) as response:
        assert world.client.app is not None
        await world.client.app.shutdown()

        async with asyncio.timeout(5):
            await response.read()


async def test_a_quiet_stream_says_that_it_lives_and_ends_with_its_token(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invocations, "HEARTBEAT_SECONDS", 0.01)
    token, text = await world.tokens.create("watcher", Scope.READ)
    async with world.client.get(f"{PATH}/stream", headers={"Authorization": f"Bearer {text}"}) as response:
        assert await response.content.readuntil(b": still here\n\n")
        await world.tokens.revoke(token.id)

        async with asyncio.timeout(5):
            await response.read()


async def test_the_server_tells_what_it_has_and_rebuilds(world: World) -> None:
    assert (await world.ask("GET", "/api/doctor")) == (200, {"findings": []})
    assert (await world.ask("POST", "/api/reconcile", content={"project": "shop"})) == (
        200,
        {"lines": ["shop: 1 release"]},
    )
    assert world.releases.asked == [("rebuild", "shop")]
