from __future__ import annotations

import io
import re

import pytest

from clowdy.server.people.auth import Right
from clowdy.server.people.tokens import Scope
from clowdy.server.web.app import ENDPOINTS
from clowdy.server.web.endpoints import Endpoint
from tests.server.web.world import ADMIN, HELLO, OTHER, SHOP, World, basic

PUBLIC = ("/api/health", "/schema/clowdy.schema.json", "/openapi.json")
STRANGERS = "0" * 12


def filled(endpoint: Endpoint, project: str) -> str:
    """The endpoint's path with real ids of the project's things."""
    values = {"project": project, "deleted": project, "function": HELLO, "number": "1", "push": "live00000000"}
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], STRANGERS), endpoint.path)


@pytest.mark.parametrize("path", PUBLIC)
async def test_what_is_public_needs_no_token(world: World, path: str) -> None:
    status, _ = await world.ask("GET", path, token=None)

    assert status == 200


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
async def test_everything_else_needs_one(world: World, endpoint: Endpoint) -> None:
    for project in ("shop", "missing"):
        status, answer = await world.ask(endpoint.method, filled(endpoint, project), token=None)
        assert (status, answer["detail"]) == (401, "Missing auth token")

        status, answer = await world.ask(endpoint.method, filled(endpoint, project), token="wrong")
        assert (status, answer["detail"]) == (401, "Invalid token")


@pytest.mark.parametrize(
    "endpoint",
    [item for item in ENDPOINTS if "{" in item.path and "{token}" not in item.path],
    ids=lambda endpoint: f"{endpoint.method} {endpoint.path}",
)
@pytest.mark.parametrize("scope", list(Scope))
async def test_a_token_of_another_project_finds_nothing_whatever_its_scope(
    world: World, endpoint: Endpoint, scope: Scope
) -> None:
    world.calls.logged.append({"id": STRANGERS, "project_id": SHOP.id, "function_id": HELLO})
    token = await world.token(scope, OTHER)

    for project in (SHOP.id, "shop"):
        foreign = await world.ask(endpoint.method, filled(endpoint, project), token=token)
        missing = await world.ask(endpoint.method, re.sub(r"\{\w+\}", "nothing", endpoint.path), token=token)

        assert foreign[0] == 404
        assert foreign[1]["detail"] == missing[1]["detail"]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
async def test_a_scope_that_does_not_reach_is_told_so_and_nothing_happens(world: World, endpoint: Endpoint) -> None:
    needed = {Right.READ: 0, Right.DEPLOY: 1, Right.ADMIN: 2, Right.CREATE: 2, Right.SERVER: 2}[endpoint.right]
    for scope in list(Scope)[:needed]:
        status, answer = await world.ask(endpoint.method, filled(endpoint, "shop"), token=await world.token(scope))

        assert status == 403
        assert answer["detail"].startswith(f"this token has scope {scope}")
    assert world.releases.asked == []


@pytest.mark.parametrize(
    "endpoint",
    [item for item in ENDPOINTS if item.right in {Right.CREATE, Right.SERVER}],
    ids=lambda endpoint: f"{endpoint.method} {endpoint.path}",
)
async def test_an_admin_token_of_one_project_does_not_rule_the_server(world: World, endpoint: Endpoint) -> None:
    status, _ = await world.ask(endpoint.method, filled(endpoint, "shop"), token=await world.token(Scope.ADMIN, SHOP))

    assert status == 403


async def test_basic_is_no_way_into_the_api_since_browsers_send_it_unasked(world: World) -> None:
    async with world.client.post("/api/projects", headers=basic("x", ADMIN), json={"name": "a"}) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_every_answer_has_an_id_of_its_own_and_safe_headers(world: World) -> None:
    seen = set()
    for path in ("/api/health", "/api/me", "/api/nothing", "/"):
        async with world.client.get(path) as response:
            seen.add(response.headers["X-Request-Id"])
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
            if response.status >= 400:
                assert (await response.json())["request_id"] == response.headers["X-Request-Id"]

    assert len(seen) == 4


async def test_unknown_paths_and_methods_are_errors_of_the_same_shape(world: World) -> None:
    assert (await world.ask("GET", "/api/nothing"))[0] == 404
    status, answer = await world.ask("DELETE", "/api/health")
    assert status == 405
    assert set(answer) == {"detail", "request_id"}


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"{", "the body is not JSON"),
        (b"[1]", "the body is not a JSON object"),
        (b"\xff\xfe", "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b'{"name": 1}', "name: must be text"),
        (b'{"name": "a\\u0000b"}', "name: has characters that no text has"),
        (b'{"name": "\\ud800"}', "name: has characters that no text has"),
        (b"{}", "name: field required"),
        (b'{"name": null}', "name: field required"),
        (b'{"name": "  "}', "name: must not be empty"),
        (b'{"name": "' + b"x" * 300 + b'"}', "name: has more than 200 characters"),
    ],
)
async def test_a_bad_body_is_told_what_is_wrong_with_it(world: World, body: bytes, detail: str) -> None:
    async with world.client.post("/api/projects", data=body, headers={"Authorization": f"Bearer {ADMIN}"}) as response:
        answer = await response.json()

    assert (response.status, answer["detail"]) == (422, detail)


async def test_a_body_that_is_too_large_is_refused(world: World) -> None:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    async with world.client.post("/api/projects", data=io.BytesIO(b"x" * 1_100_000), headers=headers) as response:
        assert response.status == 413
        assert "request_id" in await response.json()


async def test_what_goes_wrong_inside_stays_inside(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(ref: str | None) -> None:
        raise RuntimeError("a path of this machine: /secret")

    monkeypatch.setattr(world.releases, "rebuild", fail)

    status, answer = await world.ask("POST", "/api/reconcile")

    assert (status, answer["detail"]) == (500, "Internal server error")


async def test_many_wrong_tokens_are_stopped_with_429(world: World) -> None:
    for _ in range(20):
        assert (await world.ask("GET", "/api/me", token="guess"))[0] == 401

    async with world.client.get("/api/me", headers={"Authorization": "Bearer guess"}) as response:
        assert response.status == 429
        assert response.headers["Retry-After"] == "60"


async def test_the_description_names_every_endpoint(world: World) -> None:
    _, document = await world.ask("GET", "/openapi.json", token=None)

    assert document["openapi"] == "3.1.0"
    for endpoint in ENDPOINTS:
        operation = document["paths"][endpoint.path][endpoint.method.lower()]
        assert operation["summary"].endswith(".") or "`" in operation["summary"]
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))


async def test_editors_can_fetch_the_schema_from_anywhere(world: World) -> None:
    async with world.client.get("/schema/clowdy.schema.json") as response:
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "$schema" in await response.json(content_type=None)
