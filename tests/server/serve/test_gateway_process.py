"""The gateway over real instances: what functions do to it, and that the next call of another is unaffected."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from clowdy.runtimes.api import Application, CodeFile, Handler
from clowdy.runtimes.pool import Pool
from clowdy.runtimes.process import ProcessDriver
from clowdy.schema.manifest import RouteSpec
from clowdy.server.serve.routing import RouteTable
from clowdy.server.serve.table import ProjectTable, Target
from tests.server.serve.stage import TOKEN, Stage, read_reply, stage

pytestmark = pytest.mark.slow

SOURCE = b"""
import os, time

def echo(event, context):
    return {"event": event, "id": context.request_id, "release": context["release"], "trigger": context.trigger}

def page(event):
    return {"statusCode": 201, "headers": {"Content-Type": "text/html"}, "body": "<p>", "cookies": ["a=1"]}

def inject(event):
    return {"statusCode": 200, "headers": {"X": "a\\r\\nSet-Cookie: evil=1"}, "body": ""}

def status(event):
    return {"statusCode": 99}

def circle(event):
    value = []
    value.append(value)
    return value

def fails(event):
    print("before")
    raise ValueError("inside")

def sleeps(event):
    time.sleep(60)

def exits(event):
    os._exit(3)

def big(event):
    return "x" * (7 * 1024 * 1024)

def text(event):
    return "plain"
"""
NAMES = (
    "echo", "page", "inject", "status", "circle", "fails", "sleeps", "exits", "big", "text",
)  # fmt: skip


class OneFile:
    """A tree with one file."""

    id = hashlib.sha1(SOURCE).hexdigest()

    def files(self) -> Sequence[CodeFile]:
        return [CodeFile("functions/main.py", self.id, len(SOURCE), False)]

    def read(self, blob: str) -> bytes:
        assert blob == self.id
        return SOURCE


def application(name: str) -> Application:
    return Application(
        key=f"shop/{name}",
        project="shop",
        project_id="id-shop",
        function=name,
        function_id=f"{name:0<12}",
        version=1,
        code=OneFile(),
        handler=Handler("functions/main.py", name),
        timeout_seconds=0.5 if name == "sleeps" else 10.0,
    )


@pytest.fixture(params=["fast", "plain"])
async def on(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    pool = Pool(ProcessDriver(tmp_path), budget_bytes=4 * 1024**3, standbys=1)
    await pool.open()
    try:
        async with stage(fast=request.param == "fast", leasing=pool) as played:
            routes = RouteTable.compile([RouteSpec("ANY", f"/{name}/*rest", name) for name in NAMES])
            targets = {name: Target(f"{name:0<12}", name, application(name), version=1) for name in NAMES}
            played.gateway.publish(ProjectTable("id-shop", "shop", 7, routes, targets), ["shop"])
            yield played
    finally:
        await pool.close()


async def test_a_request_becomes_an_event_and_an_answer(on: Stage) -> None:
    for cold in (True, False):
        reply = await on.ask("/api/gateway/shop/echo/a%20b/?x=1&x=2", "POST", [("X-A", "1")], b'{"n": 1}')
        content = reply.json
        event = content["event"]
        assert (event["method"], event["path"], event["body"]) == ("POST", "/echo/a b", {"n": 1})
        assert (event["params"], event["multiQuery"]) == ({"rest": "a b"}, {"x": ["1", "2"]})
        assert event["headers"]["x-a"] == "1"
        assert (content["release"], content["trigger"]) == (7, "gateway")
        assert content["id"] == reply["X-Request-Id"] == on.records[-1].id
        assert on.records[-1].cold_start is cold


async def test_answers_of_every_shape(on: Stage) -> None:
    page = await on.ask("/api/gateway/shop/page")
    assert (page.status, page["Content-Type"], page.body) == (201, "text/html", b"<p>")
    assert page["Set-Cookie"] == "a=1; Path=/api/gateway/shop/"
    text = await on.ask("/text", host="shop.localhost")
    assert (text.body, text["Content-Type"]) == (b"plain", "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("fails", 500, "function_failed"),
        ("inject", 502, "bad_response"),
        ("status", 502, "bad_response"),
        ("circle", 502, "bad_response"),
        ("big", 502, "bad_response"),
        ("sleeps", 504, "timeout"),
        ("exits", 502, "crashed"),
    ],
)
async def test_what_functions_do_wrong(on: Stage, name: str, status: int, code: str) -> None:
    reader, writer = await on.connect()
    for _ in range(2):
        writer.write(f"GET /api/gateway/shop/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        reply = await read_reply(reader)
        assert (reply.status, reply.json["code"]) == (status, code)
        assert "error" not in reply.json
        assert not reply.all("Set-Cookie")
        writer.write(b"GET /api/gateway/shop/echo HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await read_reply(reader)).status == 200
    writer.close()
    assert [record.code for record in on.records] == [code, None] * 2
    if name == "fails":
        reply = await on.ask("/api/gateway/shop/fails", headers=[("Authorization", f"Bearer {TOKEN}")])
        assert "ValueError: inside" in reply.json["error"]
        assert on.records[-1].log.startswith(b"before\n")


async def test_a_direct_call_gets_the_callers_json(on: Stage) -> None:
    reply = await on.ask("/api/invoke/echo00000000", "POST", body=b'{"input": {"a": [1]}}')

    content = reply.json
    assert content["success"] is True
    assert content["output"]["event"] == {"a": [1]}
    assert content["output"]["id"] == content["invocation_id"]
    reply = await on.ask("/api/invoke/page00000000", "POST")
    assert reply.json["output"]["statusCode"] == 201


async def test_many_callers_at_once(on: Stage) -> None:
    replies = await asyncio.gather(*(on.ask(f"/api/gateway/shop/echo/{n}") for n in range(40)))

    assert [reply.status for reply in replies] == [200] * 40
    assert [reply.json["event"]["params"]["rest"] for reply in replies] == [str(n) for n in range(40)]
