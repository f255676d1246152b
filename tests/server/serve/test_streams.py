"""Answers in pieces: as they come, as fast as the caller takes them, cut when they fail."""

from __future__ import annotations

import asyncio
import socket

import orjson
import pytest

from clowdy.runtimes.api import FailureCode
from clowdy.server.serve.connection import Connection
from clowdy.server.serve.exchange import OVERFLOW
from tests.server.serve.stage import Function, Stage, Told, read_reply, stage

TEXT = orjson.dumps({"status": 200, "headers": [["Content-Type", "text/plain"]]})


def streaming(*pieces: bytes, head: bytes = TEXT, ends: bool = True) -> Function:
    def function(told: Told) -> None:
        told.sink.head(head)
        for piece in pieces:
            told.sink.piece(piece)
        if ends:
            told.instance.calls.pop(told.id, None)
            told.sink.end()

    return function


def with_length(length: int) -> bytes:
    return orjson.dumps({"status": 200, "headers": [["Content-Length", str(length)]]})


async def begun(on: Stage, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Told]:
    reader, writer = await on.connect()
    writer.write(request)
    while not on.pool.calls:
        await asyncio.sleep(0.001)
    return reader, writer, on.pool.calls[-1]


async def begun_unread(on: Stage) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Told]:
    """A call whose caller takes nothing of its answer, and has room for little of it."""
    reader, writer = await on.connect()
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    writer.transport.pause_reading()
    writer.write(GET)
    while not on.pool.calls:
        await asyncio.sleep(0.001)
    told = on.pool.calls[-1]
    told.sink.head(TEXT)
    return reader, writer, told


def send_within_credit(told: Told, sent: int) -> int:
    """One more piece where an instance would send one; how much is sent then."""
    if sent - sum(told.instance.credits) >= 256 * 1024:
        return sent
    told.sink.piece(b"x" * 65536)
    return sent + 65536


GET = b"GET /api/gateway/shop/a HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_pieces_arrive_as_they_come(on: Stage) -> None:
    on.play("GET /a: silent")
    reader, writer, told = await begun(on, GET)
    told.sink.head(TEXT)
    told.sink.piece(b"one")
    head = await reader.readuntil(b"\r\n\r\n")
    assert await reader.readuntil(b"one\r\n") == b"3\r\none\r\n"
    assert not on.records
    told.sink.piece(b"three")
    assert await reader.readuntil(b"three\r\n") == b"5\r\nthree\r\n"
    told.sink.end()
    assert await reader.readuntil(b"0\r\n\r\n") == b"0\r\n\r\n"
    writer.close()

    assert b"Transfer-Encoding: chunked" in head
    assert b"X-Clowdy-Release: 42" in head
    assert b"Content-Security-Policy: sandbox" in head
    assert [(record.status, record.http_status) for record in on.records] == [("success", 200)]
    assert not on.pool.leased


async def test_the_connection_goes_on_after_a_stream(on: Stage) -> None:
    on.play("GET /a: streams", "GET /b: echo", streams=streaming(b"x" * 10, b"y" * 10))
    reader, writer = await on.connect()
    for _ in range(2):
        writer.write(GET)
        assert (await read_reply(reader)).body == b"x" * 10 + b"y" * 10
        writer.write(GET.replace(b"/a ", b"/b "))
        assert (await read_reply(reader)).status == 200
    writer.close()


async def test_a_known_length_needs_no_chunks(on: Stage) -> None:
    on.play("GET /a: streams", streams=streaming(b"12", b"345", head=with_length(5)))

    reply = await on.ask("/api/gateway/shop/a")
    assert (reply["Content-Length"], reply.body) == ("5", b"12345")
    assert not reply.all("Transfer-Encoding")


@pytest.mark.parametrize("pieces", [(b"12",), (b"12", b"3456"), ()])
async def test_a_stream_that_breaks_its_own_length_is_cut(on: Stage, pieces: tuple[bytes, ...]) -> None:
    on.play("GET /a: streams", streams=streaming(*pieces, head=with_length(5)))

    assert not (await on.ask("/api/gateway/shop/a")).complete
    assert [(record.status, record.code) for record in on.records] == [("error", "bad_response")]


@pytest.mark.parametrize("code", list(FailureCode))
async def test_a_failure_in_the_middle_resets_the_connection(on: Stage, code: FailureCode) -> None:
    on.play("GET /a: silent")
    reader, writer, told = await begun(on, GET)
    told.sink.head(TEXT)
    told.sink.piece(b"one")
    await reader.readuntil(b"one\r\n")
    told.instance.calls.pop(told.id)
    told.sink.failed(code, "it broke")

    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    (record,) = on.records
    assert (record.code, record.http_status, record.error) == (code.value, 200, "it broke")
    assert not on.pool.leased


async def test_an_old_client_gets_the_stream_until_it_ends(on: Stage) -> None:
    on.play("GET /a: streams", streams=streaming(b"one", b"two"))

    reply = await on.ask("/api/gateway/shop/a", version="1.0")
    assert reply.body == b"onetwo"
    assert not reply.all("Transfer-Encoding")


async def test_head_of_a_stream_ends_the_call(on: Stage) -> None:
    on.play("ANY /a: streams", streams=streaming(b"one", ends=False))
    reader, writer = await on.connect()
    writer.write(GET.replace(b"GET", b"HEAD"))
    reply = await read_reply(reader, "HEAD")
    writer.close()

    assert reply.status == 200
    assert on.pool.calls[0].instance.cancelled == [1]
    assert [record.status for record in on.records] == ["success"]


async def test_head_of_a_stream_is_answered_when_its_record_has_what_its_end_prints(on: Stage) -> None:
    on.play("ANY /a: streams", streams=streaming(b"one", ends=False))
    on.pool.warm("streams").lingers = True
    reader, writer, told = await begun(on, GET.replace(b"GET", b"HEAD"))
    async with asyncio.timeout(2):
        while not told.instance.cancelled:
            await asyncio.sleep(0.001)
    assert not on.records
    told.sink.log(b"closing\n")
    told.sink.failed(FailureCode.FUNCTION_FAILED, "")
    assert (await read_reply(reader, "HEAD")).status == 200
    writer.close()
    assert [(record.status, record.log) for record in on.records] == [("success", b"closing\n")]
    assert not on.pool.leased


async def test_head_of_a_stream_does_not_wait_long_for_its_end(on: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clowdy.server.serve.exchange.SETTLE_SECONDS", 0.05)
    on.play("ANY /a: streams", streams=streaming(b"one", ends=False))
    on.pool.warm("streams").lingers = True
    reader, writer, told = await begun(on, GET.replace(b"GET", b"HEAD"))
    assert (await read_reply(reader, "HEAD")).status == 200
    writer.close()
    assert [record.status for record in on.records] == ["success"]
    assert on.pool.leased == [told.instance]
    told.sink.end()
    assert not on.pool.leased
    assert len(on.records) == 1


async def test_a_stream_over_its_own_length_is_recorded_with_what_its_end_prints(on: Stage) -> None:
    on.play("GET /a: streams", streams=streaming(b"12", b"3456", head=with_length(5), ends=False))
    on.pool.warm("streams").lingers = True
    reader, writer, told = await begun(on, GET)
    async with asyncio.timeout(2):
        while not told.instance.cancelled:
            await asyncio.sleep(0.001)
    told.sink.piece(b"more")
    told.sink.log(b"closing\n")
    told.sink.failed(FailureCode.FUNCTION_FAILED, "")
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    assert [(record.code, record.log, record.answer) for record in on.records] == [
        ("bad_response", b"closing\n", b"123456")
    ]


async def test_a_stream_with_a_head_that_cannot_be_sent_is_a_bad_response(on: Stage) -> None:
    on.play("GET /a: streams", streams=streaming(b"one", head=b"{", ends=False))

    reply = await on.ask("/api/gateway/shop/a")
    assert (reply.status, reply.json["code"]) == (502, "bad_response")
    assert on.pool.calls[0].instance.cancelled == [1]


async def test_credit_is_given_for_what_the_caller_took(on: Stage) -> None:
    on.play("GET /a: silent")
    reader, writer, told = await begun(on, GET)
    told.sink.head(TEXT)
    told.sink.piece(b"x" * 1000)
    await reader.readuntil(b"x\r\n")
    await asyncio.sleep(0.01)
    assert told.instance.credits == [1000]
    told.sink.end()
    writer.close()


async def test_a_caller_who_takes_nothing_gives_no_credit_and_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "stall_seconds", 0.05)
    for fast in (True, False):
        async with stage(fast=fast) as on:
            on.play("GET /a: silent")
            reader, writer, told = await begun_unread(on)
            sent = 0
            async with asyncio.timeout(5):
                while not on.records:
                    sent = send_within_credit(told, sent)
                    await asyncio.sleep(0.001)
            writer.close()
            del reader
            assert sent < 16 * 1024 * 1024
            assert told.instance.cancelled == [1]
            assert (on.records[0].status, on.records[0].http_status) == ("error", 200)


async def test_a_call_that_fails_does_not_wait_for_a_caller_who_reads_slowly(on: Stage) -> None:
    on.play("GET /a: silent")
    reader, writer, told = await begun_unread(on)
    sent = 0
    # Until the connection takes no more.
    for _ in range(200):
        sent = send_within_credit(told, sent)
        await asyncio.sleep(0.001)
    told.sink.failed(FailureCode.TIMEOUT, "Function timed out after 5 seconds")
    async with asyncio.timeout(1):
        while not on.records:
            await asyncio.sleep(0.001)
    assert (on.records[0].status, on.records[0].code) == ("timeout", "timeout")
    writer.transport.resume_reading()
    with pytest.raises(ConnectionError):
        while await reader.read(1 << 20):
            pass
    writer.close()


async def test_an_instance_that_ignores_its_credit_is_ended(on: Stage) -> None:
    on.play("GET /a: silent")
    reader, writer, told = await begun(on, GET)
    told.sink.head(TEXT)
    told.sink.piece(b"one")
    await reader.readuntil(b"one\r\n")
    for _ in range(OVERFLOW // 65536 + 1):
        told.sink.piece(b"x" * 65536)
    with pytest.raises(ConnectionResetError):
        while await reader.read(65536):
            pass
    writer.close()

    assert [record.code for record in on.records] == ["bad_response"]
    assert told.instance.cancelled == [1]


async def test_a_client_that_leaves_in_the_middle_ends_the_stream(on: Stage) -> None:
    on.play("GET /a: silent")
    reader, writer, told = await begun(on, GET)
    told.sink.head(TEXT)
    told.sink.piece(b"one")
    await reader.readuntil(b"one\r\n")
    writer.close()
    async with asyncio.timeout(2):
        while not on.records:
            await asyncio.sleep(0.001)

    assert told.instance.cancelled == [1]
    assert (on.records[0].status, on.records[0].http_status) == ("error", 200)
    assert not on.pool.leased


@pytest.mark.parametrize("streams", [True, False])
async def test_a_call_whose_client_left_is_recorded_at_its_end_with_all_that_it_printed(
    on: Stage, streams: bool
) -> None:
    on.play("GET /a: silent")
    on.pool.warm("silent").lingers = True
    reader, writer, told = await begun(on, GET)
    if streams:
        told.sink.head(TEXT)
        told.sink.piece(b"one")
        await reader.readuntil(b"one\r\n")
    told.sink.log(b"before\n")
    writer.close()
    async with asyncio.timeout(2):
        while not told.instance.cancelled:
            await asyncio.sleep(0.001)
    # It has its instance until it is over, and nothing of its answer counts any more.
    assert on.pool.leased == [told.instance]
    told.sink.log(b"after\n")
    if streams:
        told.sink.piece(b"two")
    assert not on.records
    told.sink.failed(FailureCode.TIMEOUT, "it had its time")
    (record,) = on.records
    assert (record.status, record.code, record.error) == ("error", None, "The client left")
    assert (record.log, record.answer) == (b"before\nafter\n", b"one" if streams else b"")
    assert not on.pool.leased
