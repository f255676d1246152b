"""The short way of a request, and that it leaves no trace in what aiohttp does."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, RawRequestMessage

from clowdy.runtimes.api import FailureCode
from clowdy.server.serve.connection import Connection
from clowdy.server.serve.fast import FastConnection
from clowdy.server.serve.gateway import Gateway
from tests.server.serve.stage import Stage, Told, project_table, read_reply, stage

GET = b"GET /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def fast() -> AsyncIterator[Stage]:
    async with stage(fast=True) as on:
        yield on


@pytest.fixture
def long_way(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the requests that aiohttp handled."""
    paths: list[str] = []
    handle = Gateway.handle

    async def counted(self: Gateway, request: web.BaseRequest, place: Any) -> web.StreamResponse:
        paths.append(request.path)
        return await handle(self, request, place)

    monkeypatch.setattr(Gateway, "handle", counted)
    return paths


def connection_of(on: Stage) -> FastConnection:
    assert on.runner.server is not None
    (connection,) = on.runner.server.connections
    assert isinstance(connection, FastConnection)
    return connection


async def test_aiohttp_is_the_version_whose_inside_was_read() -> None:
    """When this fails: read web_protocol.py and _http_parser.pyx again against fast.py, then raise the version."""
    assert aiohttp.__version__ == "3.14.5"
    used = {
        web.RequestHandler: (
            "_request_in_progress", "_handler_waiter", "_messages", "_waiter", "_close", "_force_close", "_manager",
            "_keepalive_handle", "_keepalive_timeout", "_next_keepalive_close_time", "_process_keepalive",
        ),
        BaseProtocol: ("_parser", "_paused", "_upgraded", "_loop", "transport"),
    }  # fmt: skip
    for owner, names in used.items():
        for name in names:
            assert name in owner.__slots__ or hasattr(owner, name), name
    assert RawRequestMessage.__module__ == "aiohttp._http_parser"
    assert hasattr(HttpRequestParser, "message_consumed")
    source = inspect.getsource(web.RequestHandler)
    for line in (
        "waiter = self._waiter\n            if messages and waiter is not None and not waiter.done():",
        "message, payload = self._messages.popleft()",
        "self._parser.message_consumed()",
        "manager.requests_count += 1",
        "self._next_keepalive_close_time = close_time",
        "if self._waiter and not self._waiter.done():\n            self.force_close()",
        "if self._request_in_progress:",
    ):
        assert line in source, line


async def test_a_plain_request_never_becomes_one_of_aiohttp(fast: Stage, long_way: list[str]) -> None:
    reader, writer = await fast.connect()
    await asyncio.sleep(0.01)
    for _ in range(100):
        writer.write(GET)
        assert (await read_reply(reader)).status == 200
    writer.write(b"POST /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
    assert (await read_reply(reader)).json["body"] == "body"
    writer.close()

    assert long_way == []
    assert fast.runner.server is not None
    assert fast.runner.server.requests_count == 101


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /api/gateway/shop/x HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
        b"GET /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET http://x/api/gateway/shop/x HTTP/1.1\r\nHost: y\r\n\r\n",
        b"POST /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"POST /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
        b"GET /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\n",
        b"POST /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n" + b"x" * 65536,
    ],
)
async def test_everything_unusual_takes_the_long_way(fast: Stage, long_way: list[str], request_bytes: bytes) -> None:
    reader, writer = await fast.connect()
    await asyncio.sleep(0.01)
    writer.write(request_bytes)
    reply = await read_reply(reader)
    if reply.status == 200 and b"100-continue" in request_bytes:
        assert reply.json
    writer.close()

    assert reply.status in {100, 200}
    assert long_way == ["/api/gateway/shop/x"]


async def test_a_request_in_two_reads_takes_the_short_way_when_it_is_complete(fast: Stage, long_way: list[str]) -> None:
    reader, writer = await fast.connect()
    await asyncio.sleep(0.01)
    for cut in (1, 20, len(GET) - 1):
        writer.write(GET[:cut])
        await asyncio.sleep(0.01)
        writer.write(GET[cut:])
        assert (await read_reply(reader)).status == 200
    writer.close()

    assert long_way == []


async def test_a_body_in_a_later_read_takes_the_long_way(fast: Stage, long_way: list[str]) -> None:
    reader, writer = await fast.connect()
    await asyncio.sleep(0.01)
    writer.write(b"POST /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
    await asyncio.sleep(0.01)
    writer.write(b"body")
    assert (await read_reply(reader)).json["body"] == "body"
    writer.close()

    assert len(long_way) == 1


async def test_without_a_warm_instance_it_takes_the_long_way(fast: Stage, long_way: list[str]) -> None:
    fast.pool.cold = True

    assert (await fast.ask("/api/gateway/shop/x")).status == 200
    assert len(long_way) == 1


async def test_pipelined_requests_are_answered_in_order(on: Stage) -> None:
    on.play("GET /a/:n: echo")
    reader, writer = await on.connect()
    await asyncio.sleep(0.01)
    # One, two at once, a half one with its rest: in all the ways in which reads may cut them.
    requests = [f"GET /api/gateway/shop/a/{n} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for n in range(200)]
    data = b"".join(requests)
    position, step = 0, 1
    while position < len(data):
        writer.write(data[position : position + step])
        position += step
        step = step * 7 % 211 + 1
        if step % 3 == 0:
            await asyncio.sleep(0)
    for n in range(200):
        assert (await read_reply(reader)).json["params"] == {"n": str(n)}
    writer.close()


async def test_bytes_that_come_during_a_call_are_held_with_reading_paused(fast: Stage) -> None:
    fast.play("GET /slow: silent", "ANY /*path: echo")
    reader, writer = await fast.connect()
    await asyncio.sleep(0.01)
    writer.write(b"GET /api/gateway/shop/slow HTTP/1.1\r\nHost: x\r\n\r\n")
    while not fast.pool.calls:
        await asyncio.sleep(0.001)
    connection = connection_of(fast)
    flood = GET * 20_000
    writer.write(flood)
    await asyncio.sleep(0.1)
    assert len(fast.pool.calls) == 1
    assert sum(map(len, connection._held)) < len(flood) / 2
    fast.pool.calls[0].sink.result(b"", b"1")
    for _ in range(100):
        await read_reply(reader)
    writer.close()
    assert len(fast.pool.calls) > 100


async def test_a_long_call_is_not_cut_by_the_timer_of_idle_connections() -> None:
    async with stage(fast=True, keepalive_timeout=0.1) as on:
        on.play("GET /x: silent", "GET /y: echo")
        reader, writer = await on.connect()
        await asyncio.sleep(0.01)
        writer.write(GET)
        await asyncio.sleep(0.3)
        on.pool.calls[0].sink.result(b"", b"1")
        assert (await read_reply(reader)).body == b"1"
        # Afterwards it is idle like any other.
        assert await asyncio.wait_for(reader.read(), 1) == b""
        writer.close()


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with stage(fast=True, keepalive_timeout=0.2) as on:
        reader, writer = await on.connect()
        await asyncio.sleep(0.01)
        for _ in range(4):
            writer.write(GET)
            assert (await read_reply(reader)).status == 200
            await asyncio.sleep(0.1)
        assert await asyncio.wait_for(reader.read(), 1) == b""
        writer.close()


@pytest.mark.parametrize("way", [True, False])
async def test_stopping_waits_for_a_call_and_answers_it(way: bool) -> None:
    async with stage(fast=way, shutdown_timeout=5.0) as on:
        on.play("GET /x: silent")
        reader, writer = await on.connect()
        await asyncio.sleep(0.01)
        writer.write(GET)
        while not on.pool.calls:
            await asyncio.sleep(0.001)
        stopping = asyncio.create_task(on.runner.cleanup())
        await asyncio.sleep(0.1)
        assert not stopping.done()
        on.pool.calls[0].sink.result(b"", b"1")
        reply = await read_reply(reader)
        assert (reply.body, reply["Connection"]) == (b"1", "close") if way else (reply.body == b"1")
        assert await reader.read() == b""
        async with asyncio.timeout(1):
            await stopping
        writer.close()


@pytest.mark.parametrize("way", [True, False])
async def test_stopping_waits_for_a_call_that_then_fails(way: bool) -> None:
    async with stage(fast=way, shutdown_timeout=5.0) as on:
        on.play("GET /x: silent")
        reader, writer = await on.connect()
        await asyncio.sleep(0.01)
        writer.write(GET)
        while not on.pool.calls:
            await asyncio.sleep(0.001)
        stopping = asyncio.create_task(on.runner.cleanup())
        await asyncio.sleep(0.1)
        on.pool.calls[0].sink.failed(FailureCode.CRASHED, "")
        assert (await read_reply(reader)).status == 502
        async with asyncio.timeout(1):
            await stopping
        writer.close()


@pytest.mark.parametrize("way", [True, False])
async def test_stopping_cuts_a_call_when_its_time_is_over(way: bool) -> None:
    async with stage(fast=way, shutdown_timeout=0.5) as on:
        on.play("GET /x: silent")
        reader, writer = await on.connect()
        await asyncio.sleep(0.01)
        writer.write(GET)
        while not on.pool.calls:
            await asyncio.sleep(0.001)
        began = time.monotonic()
        async with asyncio.timeout(2):
            await on.runner.cleanup()
        # Once, and not again for the end of what was cut.
        assert 0.4 < time.monotonic() - began < 0.95
        await asyncio.sleep(0.01)
        assert on.pool.calls[0].instance.cancelled == [1]
        assert not on.pool.leased
        assert await reader.read() == b""
        writer.close()


async def test_stopping_does_not_wait_for_idle_connections(fast: Stage) -> None:
    reader, writer = await fast.connect()
    await asyncio.sleep(0.01)
    writer.write(GET)
    await read_reply(reader)
    async with asyncio.timeout(0.5):
        await fast.runner.cleanup()
    writer.close()


async def test_a_client_that_leaves_during_a_handed_over_call_ends_it(fast: Stage) -> None:
    fast.play("GET /x: silent")
    _, writer = await fast.connect()
    await asyncio.sleep(0.01)
    writer.write(GET)
    while not fast.pool.calls:
        await asyncio.sleep(0.001)
    fast.pool.calls[0].sink.head(b"")
    writer.transport.abort()
    async with asyncio.timeout(2):
        while not fast.records:
            await asyncio.sleep(0.001)

    assert fast.pool.calls[0].instance.cancelled == [1]
    assert not fast.pool.leased


async def test_a_slow_head_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "head_seconds", 0.1)
    for way in (True, False):
        async with stage(fast=way) as on:
            reader, writer = await on.connect()
            await asyncio.sleep(0.01)
            async with asyncio.timeout(2):
                for byte in GET[:-1]:
                    try:
                        writer.write(bytes([byte]))
                        await writer.drain()
                    except ConnectionError:
                        break
                    await asyncio.sleep(0.01)
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await reader.readexactly(1)
            writer.close()


async def test_a_head_in_time_leaves_no_timer(on: Stage) -> None:
    reader, writer = await on.connect()
    await asyncio.sleep(0.01)
    writer.write(GET[:10])
    await asyncio.sleep(0.01)
    assert on.runner.server is not None
    (connection,) = on.runner.server.connections
    assert connection._head_timer is not None
    writer.write(GET[10:])
    assert (await read_reply(reader)).status == 200
    assert connection._head_timer is None
    writer.close()


async def test_a_caller_who_reads_nothing_is_let_go_and_not_served_on(
    on: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers wait in memory for a client that asks and never reads: no further call is begun for it."""
    monkeypatch.setattr(Connection, "stall_seconds", 0.1)

    def big(told: Told) -> None:
        told.instance.calls.pop(told.id, None)
        told.sink.result(b"", b"x" * 4_000_000)

    on.play("GET /x: big", big=big)
    reader, writer = await on.connect()
    await asyncio.sleep(0.01)
    assert on.runner.server is not None
    writer.transport.pause_reading()
    for _ in range(50):
        writer.write(GET)
        await asyncio.sleep(0.005)
    assert len(on.pool.calls) < 10
    async with asyncio.timeout(3):
        while on.runner.server.connections:
            await asyncio.sleep(0.01)
    del reader
    writer.close()


async def test_a_caller_who_leaves_with_its_request_is_no_error(on: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """The request's turn has come, and its connection goes before it is taken."""
    _, writer = await on.connect()
    await asyncio.sleep(0.01)
    assert on.runner.server is not None
    (connection,) = on.runner.server.connections
    connection.data_received(b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n")
    transport = connection.transport
    assert transport is not None
    connection.connection_lost(None)
    transport.abort()
    await asyncio.sleep(0.05)
    gc.collect()
    await asyncio.sleep(0)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    writer.close()


async def test_what_is_not_http_is_told_so_in_clowdys_form(on: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for data in (
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n",
        b"GET /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
        b"GET /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        b"GET /api/gateway/shop/" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ):
        reply = await on.raw(data)
        assert reply.startswith(b"HTTP/1.0 400"), data
        assert b"X-Request-Id" in reply
        assert b'"code":"bad_request"' in reply
    assert not on.pool.calls
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


SMUGGLED = b"GET /api/gateway/shop/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 0\r\nContent-Length: %d\r\n",
        b"Content-Length: %d\r\nContent-Length: %d\r\n",
        b"Content-Length: %d, %d\r\n",
        b"Content-Length: +%d\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x10\r\n",
        b"Content-Length : %d\r\n",
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"Transfer-Encoding\t: chunked\r\n",
        b"X: y\nContent-Length: %d\r\n",
        b"X: y\rContent-Length: %d\r\n",
    ],
)
async def test_nothing_is_smuggled_past_a_request(on: Stage, head: bytes) -> None:
    head = head.replace(b"%d", b"%d" % len(SMUGGLED))
    data = b"POST /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n" + SMUGGLED
    reply = await on.raw(data)

    assert reply.count(b"HTTP/1.") <= 1 or b" 400 " in reply
    assert not [told for told in on.pool.calls if told.event["path"] == "/smuggled"]


async def test_a_zero_length_body_ends_where_it_says(on: Stage) -> None:
    """What follows is a request of its own, for every reader alike."""
    data = b"POST /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" + SMUGGLED
    assert (await on.raw(data)).count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize(
    "host",
    [
        "shop.localhost@evil",
        "evil shop.localhost",
        "shop.localhost/..",
        "shop.localhost#",
        "shop.localhost%00",
        "..localhost",
        "-.localhost",
        "shop..localhost",
        "\u202eshop.localhost",
        "a" * 4000 + ".localhost",
    ],
)
async def test_odd_hosts_reach_no_project_but_their_own(on: Stage, host: str) -> None:
    on.gateway.publish(project_table("other"), ["other"])
    reply = await on.ask("/x", host=host)

    assert reply.status in {200, 400, 404}
    assert reply.status != 200 or reply.body == b"page /x"


async def test_an_absolute_target_names_its_own_host(on: Stage) -> None:
    reply = await on.ask("http://shop.localhost/a%2Fb?q=1", host="127.0.0.1")
    assert (reply.json["params"], reply.json["query"]) == ({"path": "a/b"}, "q=1")
    assert (await on.ask("http://127.0.0.1/a", host="shop.localhost")).body == b"page /a"


async def test_many_connections_at_once(on: Stage) -> None:
    async def one() -> int:
        return (await on.ask("/api/gateway/shop/x")).status

    assert await asyncio.gather(*(one() for _ in range(100))) == [200] * 100
    assert len({record.id for record in on.records}) == 100
    assert not on.pool.leased


@pytest.mark.parametrize(
    "line", [b"CONNECT shop.localhost:80", b"OPTIONS *", b"GET foo", b"TRACE /api/gateway/shop/x", b"PRI *"]
)
async def test_targets_that_are_no_paths_are_answered(on: Stage, line: bytes) -> None:
    reply = await on.raw(line + b" HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")

    assert reply.startswith(b"HTTP/1."), reply
    assert int(reply.split(b" ")[1]) in {204, 400, 404, 405}
    assert not on.pool.calls
