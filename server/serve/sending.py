"""Answers through aiohttp: whole, and in pieces as fast as the caller takes them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from functools import partial

from aiohttp import web
from aiohttp.http import StreamWriter
from multidict import CIMultiDict

from clowdy.server.serve.answers import SERVER, Header, has_body, to_bytes
from clowdy.server.serve.exchange import Exchange


class _Response(web.StreamResponse):
    """Sends header values as the bytes they are: of those that are no UTF-8, aiohttp would leave out what is not."""

    async def _write_headers(self) -> None:
        fields = self.headers.items()
        if all(value.isascii() for _, value in fields):
            await super()._write_headers()
            return
        request, writer = self._req, self._payload_writer
        assert request is not None
        assert isinstance(writer, StreamWriter)
        line = f"HTTP/{request.version.major}.{request.version.minor} {self.status} {self.reason}"
        await writer.write_headers(line, CIMultiDict())
        writer._headers_buf = to_bytes("\r\n".join([line, *(f"{name}: {value}" for name, value in fields), "", ""]))
        if self._send_headers_immediately:
            writer.send_headers()


class _Whole(_Response, web.Response):
    """One that is complete."""


def send_whole(
    request: web.BaseRequest,
    exchange: Exchange | None,
    headers: Sequence[Header],
    status: int = 200,
    body: bytes = b"",
) -> web.Response:
    """A response that is complete. That of an exchange is recorded now, so before its last byte leaves."""
    fields = CIMultiDict(headers)
    length: int | None = None
    if exchange is not None:
        assert exchange.answer is not None
        status = exchange.answer.status
        body = exchange.answer_bytes
        length = exchange.answer.length
        exchange.sent_status = status
        exchange.record()
    if request.method == "HEAD" and status not in (204, 304):
        fields["Content-Length"] = str(len(body) if body or length is None else length)
    fields.setdefault("Server", SERVER)
    return _Whole(status=status, headers=fields, body=body if has_body(request.method, status) else b"")


async def send_stream(request: web.BaseRequest, exchange: Exchange, headers: Sequence[Header]) -> web.StreamResponse:
    """A response in pieces, recorded before its last byte leaves. One that fails on its way resets the connection.

    A caller who takes nothing for too long is let go by the connection itself.
    """
    answer = exchange.answer
    assert answer is not None
    response = _Response(status=answer.status, headers=CIMultiDict(headers))
    response.headers.setdefault("Server", SERVER)
    if answer.length is not None and answer.status not in (204, 304):
        response.content_length = answer.length
    exchange.sent_status = answer.status
    try:
        if has_body(request.method, answer.status):
            await response.prepare(request)
            await _send_pieces(request, response, exchange, answer.length)
            await _record(exchange)
        else:
            await _record(exchange)
            await response.prepare(request)
        if exchange.failure is None:
            await response.write_eof()
        else:
            reset(request)
    except ConnectionError:
        exchange.cancel()
        exchange.record(gone=True)
    return response


async def _record(exchange: Exchange) -> None:
    """Ends what goes on behind an answer that is over, and writes it down with what it prints at its end."""
    exchange.cancel()
    await exchange.settle()
    exchange.record()


async def _send_pieces(
    request: web.BaseRequest, response: web.StreamResponse, exchange: Exchange, length: int | None
) -> None:
    sent = 0
    while (piece := await exchange.next_piece()) is not None:
        sent += len(piece)
        if length is not None and sent > length:
            break
        # A caller who reads slowly, or not at all, must not keep a call that is over.
        exchange.on_cut = partial(reset, request)
        try:
            await response.write(piece)
        finally:
            exchange.on_cut = None
        exchange.taken(len(piece))
    if exchange.failure is None and length is not None and sent != length:
        exchange.fail("bad_response", f"Content-Length is {length}, but the stream has {sent} bytes or more")


def reset(request: web.BaseRequest) -> None:
    """Ends the connection so that nobody can take what was sent for the whole."""
    transport = request.transport
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
