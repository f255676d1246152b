"""The short way of a request: answered before aiohttp makes a request, a task and a response of it.

aiohttp's own parser reads every byte, so that there are never two opinions about where a request ends. A request
takes the short way when it is complete, small and alone, and an instance of its function is free at once; what is
answered in one write is written here. Everything else goes on through aiohttp as if nothing had been: a call that
was begun and turns out to stream or to fail is handed over with its request.
"""

from __future__ import annotations

import logging
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from clowdy.server.serve import answers
from clowdy.server.serve.answers import PLAIN, SERVER, has_body, serialise
from clowdy.server.serve.call_ids import new_call_id
from clowdy.server.serve.connection import Connection
from clowdy.server.serve.exchange import CallRecord, Exchange
from clowdy.server.serve.gateway import Gateway, describes_itself
from clowdy.server.serve.outbox import Outbox
from clowdy.server.serve.requests import complete_head

log = logging.getLogger(__name__)

BODY_BELOW = 64 * 1024


class FastConnection(Connection):
    """A connection that knows the short way. `_exchange` is the call that it is on, and then aiohttp is idle."""

    __slots__ = ("_begun", "_exchange", "_gateway", "_held", "_origin", "_outbox", "_trusted")

    def __init__(self, gateway: Gateway, outbox: Outbox, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._gateway = gateway
        self._outbox = outbox
        self._exchange: Exchange | None = None
        self._begun: Exchange | None = None
        self._held: list[bytes] = []
        self._origin: str | None = None
        self._trusted: bool | None = None

    def data_received(self, data: bytes) -> None:
        if self._exchange is not None:
            self._hold(data)
            return
        waiter = self._waiter
        if waiter is None or self._messages or self._paused or self._upgraded or waiter.done():
            super().data_received(data)
            return
        # aiohttp's loop waits for the first message. Without its waiter it is not woken, and the message is ours.
        self._waiter = None
        try:
            web.RequestHandler.data_received(self, data)
        finally:
            self._waiter = waiter
        messages = self._messages
        if messages:
            if self._head_timer is not None:
                self._watch_head()
            if not (len(messages) == 1 and self._begin(*messages[0])) and not waiter.done():
                waiter.set_result(None)
        else:
            self._watch_head()

    def _begin(self, message: object, payload: StreamReader) -> bool:
        """Calls the function of a request that can take the short way; False leaves everything as it is."""
        if (
            type(message) is not RawRequestMessage
            or message.version != HttpVersion11
            or message.should_close
            or message.upgrade
            or message.chunked
        ):
            return False
        headers = message.headers
        if hdrs.EXPECT in headers or hdrs.UPGRADE in headers or hdrs.TRANSFER_ENCODING in headers:
            return False
        if payload is not EMPTY_PAYLOAD and not (payload.is_eof() and payload.total_bytes < BODY_BELOW):
            return False
        gateway = self._gateway
        host = headers[hdrs.HOST]
        if self._trusted is None:
            self._trusted = gateway.proxies.trusts(self.peer)
        if self._trusted:
            host = gateway.proxies.host(self.peer, headers, host)
        way = gateway.way(host, message.method, message.path)
        if way is None:
            return False
        instance = gateway.pool.lease(way.application)
        if instance is None:
            return False
        request_id = new_call_id()
        head = complete_head(way.head, request_id, gateway.headers_for(headers))
        if instance.is_application:
            head = gateway.application_head(head, self, headers, "1.1")
        exchange = Exchange(
            gateway.pool,
            gateway.ledger,
            way.mount.project,
            way.target,
            request_id,
            "gateway",
            message.method,
            way.path,
            head,
            way.mount,
        )
        if payload is not EMPTY_PAYLOAD:
            exchange.body = payload.read_nowait()
        if way.mount.project.cors or describes_itself(way.mount, way.path):
            self._origin = headers.get(hdrs.ORIGIN)
        self._exchange = exchange
        self._request_in_progress = True
        exchange.on_begun = self._on_begun
        exchange.start(instance, way.application.timeout_seconds)
        return True

    def _hold(self, data: bytes) -> None:
        """Keeps what comes while a call runs, at most what was read already."""
        if not self._held and self.transport is not None:
            self.transport.pause_reading()
        self._held.append(data)

    def _on_begun(self, exchange: Exchange) -> None:
        """The call has an answer, or has failed."""
        if exchange is not self._exchange:
            return
        if exchange.failure is None and not exchange.streams:
            self._outbox.add(self, exchange)
        else:
            self._exchange = None
            self._hand_over(exchange)
            self._go_on()

    def closes(self, exchange: Exchange) -> CallRecord | None:
        """See `outbox.Sender`."""
        if exchange is not self._exchange:
            return None
        assert exchange.answer is not None
        exchange.sent_status = exchange.answer.status
        return exchange.close()

    def send(self, exchange: Exchange) -> None:
        """See `outbox.Sender`."""
        self._exchange = None
        self._write(exchange)
        self._finish()
        self._go_on()

    def _go_on(self) -> None:
        """Reads what came while a call ran."""
        if self._held:
            held = b"".join(self._held)
            self._held.clear()
            if self.transport is not None:
                self.transport.resume_reading()
            self.data_received(held)

    def _hand_over(self, exchange: Exchange) -> None:
        """Lets aiohttp go on with the request, which is still first in its queue; the handler takes the call."""
        exchange.on_begun = None
        waiter = self._waiter
        if waiter is None or waiter.done():
            exchange.cancel()
            exchange.record(gone=True)
            self.force_close()
            return
        self._begun = exchange
        waiter.set_result(None)

    def take_begun(self) -> Exchange | None:
        exchange, self._begun = self._begun, None
        return exchange

    def _write(self, exchange: Exchange) -> None:
        """Sends a whole answer in one write."""
        answer, body, mount = exchange.answer, exchange.answer_bytes, exchange.mount
        assert answer is not None
        assert mount is not None
        closing = self._close or self._force_close
        if answer is PLAIN and exchange.method != "HEAD" and not mount.project.cors and not closing:
            head = b"%b%b\r\nContent-Length: %d\r\nDate: %b\r\n\r\n" % (
                mount.plain,
                exchange.request_id.encode(),
                len(body),
                answers.date().encode(),
            )
        else:
            headers = self._gateway.head_of(mount, answer, exchange.request_id, self._origin, exchange.path)
            names = {name.lower() for name, _ in headers}
            method = exchange.method or ""
            if answer.status not in (204, 304):
                length = answer.length if method == "HEAD" and not body and answer.length is not None else len(body)
                headers.append(("Content-Length", str(length)))
                if length and method != "HEAD" and "content-type" not in names:
                    headers.append(("Content-Type", "application/octet-stream"))
            if not has_body(method, answer.status):
                body = b""
            if "date" not in names:
                headers.append(("Date", answers.date()))
            if "server" not in names:
                headers.append(("Server", SERVER))
            if closing:
                headers.append(("Connection", "close"))
            head = serialise(answer.status, headers)
        if self.transport is not None:
            self.transport.write(head + body)

    def _finish(self) -> None:
        """What aiohttp's loop does after an answer."""
        self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._manager is not None:
            self._manager.requests_count += 1
        self._origin = None
        self._request_in_progress = False
        self._tell_shutdown()
        if self._close or self._force_close:
            # Both were asked for while the call ran, and waited for it.
            super().close()
            if self.transport is not None:
                self.transport.close()
            return
        close_time = self._loop.time() + self._keepalive_timeout
        self._next_keepalive_close_time = close_time
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(close_time, self._process_keepalive)

    def _tell_shutdown(self) -> None:
        waiter = self._handler_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _process_keepalive(self) -> None:
        if self._exchange is not None:
            # Set again when the call is over: a connection that waits for its answer is not idle.
            self._keepalive_handle = None
            return
        super()._process_keepalive()

    def close(self) -> None:
        if self._exchange is not None:
            self._close = True
            return
        super().close()

    def connection_lost(self, exc: BaseException | None) -> None:
        exchange = self._exchange or self._begun
        self._exchange = self._begun = None
        super().connection_lost(exc)
        if exchange is not None:
            exchange.on_begun = None
            exchange.cancel()
            exchange.record(gone=True)
            self._tell_shutdown()
