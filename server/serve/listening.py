"""The server that everything comes in through: the gateway and the pages behind one socket."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from clowdy.server.serve.connection import Connection
from clowdy.server.serve.crowd import CONNECTIONS_PER_ADDRESS, Crowd
from clowdy.server.serve.fast import FastConnection
from clowdy.server.serve.gateway import Gateway
from clowdy.server.serve.outbox import Outbox

IDLE_SECONDS = 75.0
"""How long a connection may be idle."""


class FastServer(web.Server):
    """aiohttp's low-level server: what the gateway has no place for goes to the pages' application.

    `fast` lets requests take the short way of `FastConnection`; without it everything goes through aiohttp.
    `connections` is the most that one address may have open.
    """

    def __init__(
        self,
        gateway: Gateway,
        pages: web.Server,
        *,
        fast: bool = True,
        connections: int = CONNECTIONS_PER_ADDRESS,
        **options: Any,
    ) -> None:
        options.setdefault("keepalive_timeout", IDLE_SECONDS)
        options.setdefault("access_log", None)
        # A function gets the bytes that its caller sent, which a signature may be made of.
        options.setdefault("auto_decompress", False)
        super().__init__(self._dispatch, request_factory=pages.request_factory, **options)
        self._gateway = gateway
        self._pages = pages.request_handler
        self._fast = fast
        self._crowd = Crowd(connections, gateway.proxies.trusts)
        self._outbox = Outbox(lambda: gateway.ledger, self._loop)

    def __call__(self) -> web.RequestHandler:
        connection: Connection
        if self._fast:
            connection = FastConnection(self._gateway, self._outbox, self, loop=self._loop, **self._kwargs)
        else:
            connection = Connection(self, loop=self._loop, **self._kwargs)
        connection.crowd = self._crowd
        return connection

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        target = request.raw_path
        host = request.headers.get("Host", "")
        if not target.startswith("/"):
            # RFC 9112, 3.2.2: the host of an absolute target counts, not the header.
            target, host = request.rel_url.raw_path_qs, request.host
        connection = request.protocol
        assert isinstance(connection, Connection)
        host = self._gateway.proxies.host(connection.peer, request.headers, host)
        place = self._gateway.locate(host, target)
        if place is None:
            return await self._pages(request)
        return await self._gateway.handle(request, place)


class Runner(web.AppRunner):
    """Runs the pages' application with the gateway before it, like `web.AppRunner`."""

    __slots__ = ("_fast", "_gateway", "_options")

    def __init__(self, app: web.Application, gateway: Gateway, *, fast: bool = True, **options: Any) -> None:
        shutdown_timeout = options.pop("shutdown_timeout", 30.0)
        super().__init__(app, shutdown_timeout=shutdown_timeout)
        self._gateway = gateway
        self._fast = fast
        self._options = options

    def grace(self, seconds: float) -> None:
        """How long `cleanup` waits for what runs."""
        self._shutdown_timeout = seconds

    async def _make_server(self) -> web.Server:
        # The server that is made here is not used itself: it knows how the application answers.
        pages = await super()._make_server()
        return FastServer(self._gateway, pages, fast=self._fast, **self._options)
