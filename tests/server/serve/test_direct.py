"""Calls of a function by its id, or by its name with a token."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from typing import Any

import orjson
import pytest

from clowdy.runtimes.api import FailureCode, StartFailed, StartReason
from clowdy.runtimes.pool import Busy
from tests.server.serve.stage import TOKEN, Function, Reply, Stage, Told, answering, project_table

BEARER = [("Authorization", f"Bearer {TOKEN}")]
ECHO = "/api/invoke/echo00000000"


def returning(body: bytes, head: bytes = b"") -> Function:
    return answering(body, head=head)


async def invoke(on: Stage, target: str, body: Any = None, headers: Any = ()) -> Reply:
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return await on.ask(target, "POST", headers, data)


async def test_anybody_may_call_a_public_function_by_its_id(on: Stage) -> None:
    on.play("GET /a: twice", twice=returning(b'{"n": 4}'))

    reply = await invoke(on, "/api/invoke/twice0000000", {"input": {"n": 2}})

    assert reply.status == 200
    content = reply.json
    assert content.pop("duration_ms") >= 0
    assert content == {
        "success": True,
        "output": {"n": 4},
        "invocation_id": reply["X-Request-Id"],
        "cold_start": False,
    }
    assert reply["X-Clowdy-Release"] == "42"
    told = on.pool.calls[0]
    assert told.event["trigger"] == "direct"
    assert told.call.body == b'{"n":2}'
    (record,) = on.records
    assert (record.trigger, record.http_status, record.method, record.status) == ("direct", None, None, "success")


@pytest.mark.parametrize(
    ("body", "event"),
    [
        (b"", b"{}"),
        (b"{}", b"{}"),
        (b'{"input": null}', b"null"),
        (b'{"input": [1, 2.5, "\xc3\xa9"]}', b'[1,2.5,"\xc3\xa9"]'),
        (b'{"input": 123456789012345678901234567890}', b"123456789012345678901234567890"),
        (b'{"input": ' + b"[" * 400 + b"]" * 400 + b"}", b"[" * 400 + b"]" * 400),
        (b'{"input": "\\ud800"}', b'"\\ud800"'),
    ],
)
async def test_the_event_is_the_callers_json(on: Stage, body: bytes, event: bytes) -> None:
    on.play("GET /a: fixed", fixed=returning(b"1"))

    assert (await invoke(on, "/api/invoke/fixed0000000", body)).status == 200
    assert on.pool.calls[0].call.body == event


@pytest.mark.parametrize(
    "body", [b"{", b"[1]", b'"x"', b'{"input": NaN}', b'{"input": 1111111111111111, "x": NaN}', b"\xff", b"[" * 5000]
)
async def test_what_is_not_such_json_is_refused(on: Stage, body: bytes) -> None:
    reply = await invoke(on, ECHO, body)

    assert reply.status == 422
    assert reply.json["request_id"] == reply["X-Request-Id"]
    assert not on.pool.calls


async def test_json_is_taken_or_refused_however_deep_it_is(on: Stage) -> None:
    on.play("GET /a: fixed", fixed=returning(b"1"))

    # Around the depth at which the standard library gives up, which depends on how deep its caller is.
    for depth in (*range(900, 1000, 5), 2000):
        body = b'{"input":' + b"[" * depth + b"]" * depth + b"}"
        assert (await invoke(on, "/api/invoke/fixed0000000", body)).status in (200, 422)


async def test_compressed_bodies_are_not_taken(on: Stage) -> None:
    reply = await on.ask(ECHO, "POST", [("Content-Encoding", "gzip")], gzip.compress(b'{"input": 1}'))

    assert (reply.status, reply.json["detail"]) == (415, "The request body must not be compressed")
    assert not on.pool.calls


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_only_post_calls(on: Stage, method: str) -> None:
    assert (await on.ask(ECHO, method)).body.startswith(b"page ")


async def test_a_failure_is_told_with_200(on: Stage) -> None:
    def fails(told: Told) -> None:
        told.sink.failed(FailureCode.FUNCTION_FAILED, "Function error: Traceback")

    on.play("GET /a: fails", fails=fails)

    reply = await invoke(on, "/api/invoke/fails0000000")
    assert reply.status == 200
    assert reply.json["success"] is False
    assert reply.json["error"] == "Function failed"
    assert reply.json["invocation_id"] == reply["X-Request-Id"]
    reply = await invoke(on, "/api/invoke/fails0000000", headers=BEARER)
    assert reply.json["error"] == "Function error: Traceback"
    assert [record.code for record in on.records] == ["function_failed"] * 2


async def test_without_an_instance_it_fails_as_the_gateway_does(on: Stage) -> None:
    on.pool.error = Busy("busy")
    reply = await invoke(on, ECHO)
    assert (reply.status, reply.json["code"], reply["Retry-After"]) == (429, "busy", "1")
    on.pool.error = StartFailed(StartReason.EXCEPTION, "Traceback")
    reply = await invoke(on, ECHO, headers=BEARER)
    assert (reply.status, reply.json["code"], reply.json["error"]) == (503, "start_failed", "Traceback")
    assert [record.http_status for record in on.records] == [None, None]


async def test_unknown_and_private_functions_are_not_found(on: Stage) -> None:
    on.gateway.publish(project_table(routes=["GET /a: hidden"], private=["hidden"]), ["shop"])
    on.gateway.publish(project_table("blog", routes=["GET /a: theirs"], private=["theirs"]), ["blog"])
    on.pool.functions.update(hidden=returning(b"1"), theirs=returning(b"1"))

    for target, headers in (
        ("/api/invoke/000000000000", ()),
        ("/api/invoke/hidden", ()),
        ("/api/invoke/hidden000000", ()),
        ("/api/invoke/hidden000000", [("Authorization", "Bearer wrong")]),
        ("/api/invoke/theirs000000", BEARER),
    ):
        reply = await invoke(on, target, headers=headers)
        assert (reply.status, reply.json["detail"], reply.json["code"]) == (404, "Function not found", "not_found")
        assert reply.json["request_id"] == reply["X-Request-Id"]
    assert (await invoke(on, "/api/invoke/hidden000000", headers=BEARER)).status == 200


async def test_by_name_a_token_comes_first(on: Stage) -> None:
    on.gateway.publish(project_table("blog"), ["blog"])

    for target in ("/api/invoke/shop/echo", "/api/invoke/shop/nothing", "/api/invoke/nothing/echo"):
        reply = await invoke(on, target)
        assert (reply.status, reply.json["code"]) == (401, "unauthorized")
        assert reply["WWW-Authenticate"].startswith("Bearer")
        assert (await invoke(on, target, headers=[("Authorization", "Bearer wrong")])).status == 401
    for project in ("shop", "old-shop", "id-shop"):
        assert (await invoke(on, f"/api/invoke/{project}/echo", headers=BEARER)).json["success"] is True
    assert (await invoke(on, "/api/invoke/shop/nothing", headers=BEARER)).status == 404
    for project in ("blog", "nothing"):
        reply = await invoke(on, f"/api/invoke/{project}/echo", headers=BEARER)
        assert (reply.status, reply.json["detail"]) == (404, "Project not found")


async def test_a_large_body_is_refused_beyond_the_gateways_limit(on: Stage) -> None:
    on.play("GET /a: fixed", fixed=returning(b"1"))

    assert (await invoke(on, "/api/invoke/fixed0000000", {"input": "x" * 100_000})).status == 200
    assert (await invoke(on, "/api/invoke/fixed0000000", {"input": "x" * 6 * 1024 * 1024})).status == 413


TEXT = b'{"status":200,"headers":[["Content-Type","text/plain"]]}'


@pytest.mark.parametrize(
    ("head", "body", "output"),
    [
        (b"", b'"\\ud800"', "\ud800"),
        (b"", b"[" * 300 + b"]" * 300, None),
        (TEXT, "é".encode(), "é"),
        (TEXT, b"\xff", {"body": base64.b64encode(b"\xff").decode(), "isBase64Encoded": True}),
    ],
)
async def test_results_of_every_kind(on: Stage, head: bytes, body: bytes, output: Any) -> None:
    on.play("GET /a: fixed", fixed=returning(body, head))

    content = json.loads((await invoke(on, "/api/invoke/fixed0000000")).body)
    assert content["success"] is True
    assert output is None or content["output"] == output


@pytest.mark.parametrize("body", [b"", b"{", b'1,"success":false', b"NaN", b"1}{"])
async def test_what_a_hostile_runner_sends_cannot_pass_for_another_answer(on: Stage, body: bytes) -> None:
    on.play("GET /a: fixed", fixed=returning(body))

    reply = await invoke(on, "/api/invoke/fixed0000000")
    assert orjson.loads(reply.body)["success"] is False
    assert [record.code for record in on.records] == ["bad_response"]


async def test_a_stream_is_given_as_its_whole(on: Stage) -> None:
    def streams(told: Told) -> None:
        told.sink.head(TEXT)
        told.sink.piece(b"one ")
        told.sink.piece(b"two")
        told.sink.end()

    on.play("GET /a: streams", streams=streams)

    assert (await invoke(on, "/api/invoke/streams00000")).json["output"] == "one two"
    assert on.records[0].answer == b"one two"


async def test_a_client_that_leaves_ends_its_call(on: Stage) -> None:
    on.play("GET /a: silent")
    _, writer = await on.connect()
    writer.write(b"POST /api/invoke/silent000000 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    while not on.pool.calls:
        await asyncio.sleep(0.001)
    writer.close()
    async with asyncio.timeout(2):
        while not on.records:
            await asyncio.sleep(0.001)

    assert on.pool.calls[0].instance.cancelled == [1]
    assert not on.pool.leased
