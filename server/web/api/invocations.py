"""Calls that were logged: as they were, and as they come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from clowdy.server.errors import NotFound
from clowdy.server.people.auth import Right
from clowdy.server.store import functions as stored
from clowdy.server.web.answers import dump
from clowdy.server.web.api.functions import FUNCTION_NOT_FOUND
from clowdy.server.web.endpoints import Asked, Table
from clowdy.server.web.middleware import REQUEST_ID, set_headers
from clowdy.server.web.services import Call, CallFilter

HEARTBEAT_SECONDS = 15.0

table = Table()


@table.get("/api/projects/{project}/invocations", Right.READ)
async def every(asked: Asked) -> object:
    """The project's calls, newest first: `?function=`, `?search=`, `?before=ID`, `?limit=`."""
    query = asked.request.query
    wanted = CallFilter(
        asked.project.id,
        await _function_id(asked),
        query.get("search", "")[:500],
        query.get("before") or None,
        asked.number("limit", 50),
    )
    return list(await asked.services.calls.every(wanted))


@table.get("/api/projects/{project}/invocations/stream", Right.READ)
async def stream(asked: Asked) -> web.StreamResponse:
    """The project's calls as they come, as server-sent events."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    set_headers(response, asked.request[REQUEST_ID])
    async with asked.services.calls.follow(asked.project.id, await _function_id(asked)) as calls:
        await response.prepare(asked.request)
        with contextlib.suppress(ConnectionError):
            await response.write(b": from here on\n\n")
            async for call in _with_heartbeats(calls):
                await response.write(b": still here\n\n" if call is None else b"data: " + dump(call) + b"\n\n")
                if call is None and not asked.services.tokens.is_valid(asked.principal.token_id):
                    break
    return response


@table.get("/api/invocations/{call}", Right.READ)
async def show(asked: Asked) -> object:
    """One call."""
    call = await asked.services.calls.find(asked.segment("call"))
    if call is None or not asked.services.authorizer.sees(asked.principal, call["project_id"]):
        raise NotFound("Invocation not found")
    return call


@table.get("/api/functions/{function}/invocations", Right.READ)
async def of_function(asked: Asked) -> object:
    """The last 50 calls of a function, newest first."""
    async with asked.services.store.reading() as connection:
        found = await stored.find(connection, asked.segment("function"))
    if found is None or not asked.services.authorizer.sees(asked.principal, found.project_id):
        raise NotFound(FUNCTION_NOT_FOUND)
    return list(await asked.services.calls.every(CallFilter(found.project_id, found.id)))


async def _function_id(asked: Asked) -> str | None:
    ref = asked.request.query.get("function")
    if not ref:
        return None
    async with asked.services.store.reading() as connection:
        known = await stored.every(connection, asked.project.id)
    by_name = {function.name: function.id for function in known}
    function_id = by_name.get(ref) or next((function.id for function in known if function.id == ref), None)
    if function_id is None:
        raise NotFound(FUNCTION_NOT_FOUND)
    return function_id


async def _with_heartbeats(calls: AsyncIterator[Call]) -> AsyncIterator[Call | None]:
    """The calls, and None whenever there was none for a while: a dead connection is noticed by writing to it."""
    waiting = asyncio.ensure_future(anext(calls))
    try:
        while True:
            done, _ = await asyncio.wait([waiting], timeout=HEARTBEAT_SECONDS)
            if not done:
                yield None
                continue
            try:
                call = waiting.result()
            except StopAsyncIteration:
                return
            waiting = asyncio.ensure_future(anext(calls))
            yield call
    finally:
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
            await waiting
