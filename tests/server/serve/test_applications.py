"""What applications are told of a request besides, and that direct calls are none of theirs."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from clowdy.schema.manifest import HandlerType
from clowdy.server.serve.exchange import RECORDED_BODY
from clowdy.server.serve.requests import header_fields
from tests.server.serve.stage import ADMIN, Stage, Told, answering, is_own_token, project_table, stage


@pytest.fixture(params=[True, False], ids=["fast", "slow"])
async def on(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with stage(fast=request.param) as played:
        played.pool.applications.add("echo")
        yield played


@pytest.fixture(params=[True, False], ids=["fast", "slow"])
async def behind(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with stage(fast=request.param, trust=[ipaddress.ip_network("127.0.0.0/8")]) as played:
        played.pool.applications.add("echo")
        yield played


async def told(on: Stage, target: str = "/api/gateway/shop/x", headers: Any = (), **options: Any) -> dict[str, Any]:
    reply = await on.ask(target, headers=headers, **options)
    assert reply.status == 200, reply.body
    found: dict[str, Any] = reply.json
    return found


async def test_an_application_is_told_who_asks_and_how(on: Stage) -> None:
    head = await told(on, "/api/gateway/shop/a%20b/?x=1")
    assert (head["scheme"], head["http_version"]) == ("http", "1.1")
    assert head["client"][0] == "127.0.0.1"
    assert head["client"][1] > 0
    assert (head["prefix"], head["path"], head["raw_path"]) == ("/api/gateway/shop", "/a b", "/a%20b/")
    assert "host" not in head
    assert "fields" not in head


async def test_an_old_request_says_so(on: Stage) -> None:
    assert (await told(on, version="1.0"))["http_version"] == "1.0"


async def test_a_plain_handler_is_told_no_more_than_its_event_has() -> None:
    for fast in (True, False):
        async with stage(fast=fast) as on:
            assert not {"client", "scheme", "http_version", "fields"} & set(await told(on))


async def test_a_proxy_in_front_is_believed_where_it_is_trusted(behind: Stage, on: Stage) -> None:
    forwarded = [
        ("X-Forwarded-For", "203.0.113.7, 127.0.0.2"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "real.example"),
    ]
    head = await told(behind, headers=forwarded)
    assert (head["client"], head["scheme"], head["host"]) == (["203.0.113.7", 0], "https", "real.example")
    head = await told(on, headers=forwarded)
    assert (head["client"][0], head["scheme"]) == ("127.0.0.1", "http")
    assert "host" not in head


async def test_headers_that_were_sent_apart_are_told_apart(on: Stage) -> None:
    sent = [
        ("X-A", "1"),
        ("X-A", "2"),
        ("Cookie", "a=1; clowdy_session=x"),
        ("Authorization", f"Bearer {ADMIN}"),
        ("Connection", "keep-alive, X-Gone"),
        ("X-Gone", "1"),
    ]
    fields = [pair for pair in (await told(on, headers=sent))["fields"] if pair[0] != "host"]
    assert fields == [["x-a", "1"], ["x-a", "2"], ["cookie", "a=1"]]


def test_bytes_of_headers_stay_what_they_were() -> None:
    assert header_fields([("X-A", "\u00fc")], is_own_token) == [("x-a", "\u00c3\u00bc")]
    assert header_fields([("X-A", "\udcfc")], is_own_token) == [("x-a", "\u00fc")]
    assert header_fields([("X-A", "u")], is_own_token) is None


async def test_a_direct_call_of_an_application_is_refused_with_the_reason(on: Stage) -> None:
    reply = await on.ask("/api/invoke/echo00000000", "POST", (), b'{"input": {}}')
    assert (reply.status, reply.json["code"]) == (400, "bad_request")
    assert reply.json["detail"] == "The function is an application: it takes calls through the gateway alone"
    assert not on.pool.calls
    assert not on.pool.leased
    assert not on.records


@pytest.mark.parametrize("kind", [HandlerType.ASGI, HandlerType.WSGI])
async def test_one_that_is_named_an_application_is_not_started_for_a_direct_call(on: Stage, kind: HandlerType) -> None:
    table = project_table()
    target = table.functions["echo"]
    assert target.application is not None
    typed = dataclasses.replace(target, application=dataclasses.replace(target.application, type=kind))
    on.gateway.publish(dataclasses.replace(table, functions={"echo": typed}), ["shop"])
    assert (await on.ask("/api/invoke/echo00000000", "POST", (), b"{}")).status == 400
    assert not on.pool.instances


async def test_a_large_body_is_handed_on_in_parts_and_recorded_as_far_as_a_record_goes(on: Stage) -> None:
    def length(told: Told) -> None:
        assert isinstance(told.call.body, list)
        told.instance.calls.pop(told.id, None)
        told.sink.result(b"", str(sum(map(len, told.call.body))).encode())

    on.play("POST /large: length", length=length)
    reply = await on.ask("/api/gateway/shop/large", "POST", (), b"x" * 3_000_000)
    assert reply.body == b"3000000"
    (record,) = on.records
    assert record.body == b"x" * RECORDED_BODY


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_header_bytes_of_an_application_arrive_as_they_are(on: Stage, method: str, streams: bool) -> None:
    head = orjson.dumps({"status": 200, "headers": [["X-A", "caf\xe9"], ["Set-Cookie", "a=caf\xc3\xa9"]]})

    def answers(told: Told) -> None:
        if streams:
            told.sink.head(head)
            told.sink.piece(b"x")
        if not told.instance.cancelled:
            told.instance.calls.pop(told.id)
            told.sink.end() if streams else told.sink.result(head, b"x")

    on.play("GET /a: answers", answers=answers)
    on.pool.applications.add("answers")
    reply = await on.ask("/api/gateway/shop/a", method)
    # As the bytes came, each a character.
    assert reply["X-A"] == "caf\xe9"
    assert reply["Set-Cookie"].startswith("a=caf\xc3\xa9;")
    assert reply.body == (b"x" if method == "GET" else b"")


async def test_a_header_of_an_application_that_is_no_bytes_is_a_bad_response(on: Stage) -> None:
    on.play("GET /a: answers", answers=answering(b"x", headers=[("X-A", "\u20ac")]))
    on.pool.applications.add("answers")
    reply = await on.ask("/api/gateway/shop/a")
    assert (reply.status, reply.json["code"]) == (502, "bad_response")
