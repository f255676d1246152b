"""A connection with the patience that aiohttp lacks, and with errors in Clowdy's own form."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from clowdy.server.serve.answers import SERVER, error_body, serialise
from clowdy.server.serve.call_ids import new_call_id
from clowdy.server.serve.crowd import Crowd

if TYPE_CHECKING:
    from clowdy.server.serve.exchange import Exchange

log = logging.getLogger(__name__)

HEAD_SECONDS = 20.0
"""What a client may take from the first byte of a request's head to its last."""

STALL_SECONDS = 30.0
"""How long a client may take nothing of what it is sent."""


CUT_SECONDS = 0.1
"""How long a request that was told to end may take for that."""


class Connection(web.RequestHandler):
    """One connection, one of the `crowd` of all.

    `on_lost` is called once if the connection goes while it is set. Slow heads and clients that take nothing end
    the connection; bodies are their readers' business, since a push may think longer than a form.
    """

    __slots__ = ("_counted", "_head_timer", "_stall_timer", "crowd", "on_lost")

    head_seconds = HEAD_SECONDS
    stall_seconds = STALL_SECONDS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.on_lost: Callable[[], object] | None = None
        self.crowd: Crowd | None = None
        self._counted: str | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    @property
    def peer(self) -> str | None:
        """The address at the other end, None for a unix socket."""
        name = self.peername
        return name[0] if isinstance(name, tuple) else None

    @property
    def peer_port(self) -> int:
        """The port at the other end, 0 for a unix socket."""
        name = self.peername
        return name[1] if isinstance(name, tuple) else 0

    def take_begun(self) -> Exchange | None:
        """See `gateway.Client`."""
        return None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = self.peer
        if self.crowd is None or peer is None:
            return
        if self.crowd.enter(peer):
            self._counted = peer
        elif self.transport is not None:
            self.transport.write(_crowded())
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._counted is not None and self.crowd is not None:
            self.crowd.leave(self._counted)
            self._counted = None
        self._stop_timers()
        super().connection_lost(exc)
        # A request whose turn came just before would go on without what aiohttp makes it with, and fail aloud.
        self._request_factory = _end_request
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """Gives a running request `timeout` seconds, then ends it. aiohttp alone would give them twice."""
        self._force_close = True
        if self._request_in_progress:
            self._handler_waiter = waiter = self._loop.create_future()
            await asyncio.wait((waiter,), timeout=timeout)
            self._handler_waiter = None
        await super().shutdown(CUT_SECONDS)

    def _stop_timers(self) -> None:
        for timer in (self._head_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._stall_timer = None

    # Heads.

    def data_received(self, data: bytes) -> None:
        waiting = self._waiter is not None and not self._messages
        super().data_received(data)
        if waiting or self._head_timer is not None:
            self._watch_head()

    def _watch_head(self) -> None:
        """Times a head that has begun to come; aiohttp would give it as long as an idle connection."""
        timer = self._head_timer
        if self._messages:
            if timer is not None:
                timer.cancel()
                self._head_timer = None
        elif timer is None:
            self._head_timer = self._loop.call_later(self.head_seconds, self._head_overdue)

    def _head_overdue(self) -> None:
        self._head_timer = None
        if not self._messages:
            self.force_close()

    # Answers.

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _watch_writing(self) -> None:
        transport = self.transport
        if transport is not None:
            size = transport.get_write_buffer_size()
            self._stall_timer = self._loop.call_later(self.stall_seconds, self._check_writing, size)

    def _check_writing(self, before: int) -> None:
        """Lets a client go that took nothing since it was looked at last."""
        self._stall_timer = None
        transport = self.transport
        if transport is None:
            return
        if transport.get_write_buffer_size() >= before:
            transport.abort()
        else:
            self._watch_writing()

    # Errors.

    def log_exception(self, *arguments: Any, **options: Any) -> None:
        """Writes nothing of a body that broke its encoding: its reader has told whoever sent it."""
        if not isinstance(options.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*arguments, **options)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is not HTTP, and to what nobody caught; the connection is closed after it."""
        request_id = new_call_id()
        if status == 500:
            if isinstance(exc, ConnectionError):
                log.debug("the client left", exc_info=exc)
            else:
                log.error("request %s failed", request_id, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        if status == 400:
            what = "its head is too long" if isinstance(exc, LineTooLong) else "it is not valid HTTP"
            body = error_body(f"Bad request: {what}", "bad_request", request_id)
        else:
            body = error_body("Internal error", "unavailable", request_id)
        headers = {"Content-Type": "application/json", "X-Request-Id": request_id, "Server": SERVER}
        response = web.Response(status=status, body=body, headers=headers)
        response.force_close()
        return response


def _crowded() -> bytes:
    request_id = new_call_id()
    body = error_body("Too many connections from one address", "busy", request_id)
    headers = [
        ("Content-Type", "application/json"),
        ("X-Request-Id", request_id),
        ("Retry-After", "1"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    return serialise(429, headers) + body


def _end_request(*_: object) -> NoReturn:
    raise asyncio.CancelledError
