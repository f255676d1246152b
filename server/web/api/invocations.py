"""Calls that were logged: as they were, and as they come."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

from aiohttp import web

from clowdy.server.errors import Invalid, NotFound
from clowdy.server.people.auth import Right
from clowdy.server.store import functions as stored
from clowdy.server.web.answers import dump
from clowdy.server.web.api.functions import FUNCTION_NOT_FOUND
from clowdy.server.web.endpoints import Asked, Table
from clowdy.server.web.middleware import REQUEST_ID, STOPPING, set_headers
from clowdy.server.web.services import Call, CallFilter, Missed

HEARTBEAT_SECONDS = 15.0

_CALL_ID = re.compile(r"[0-9a-f]{12}")

table = Table()


@table.get("/api/projects/{project}/invocations", Right.READ)
async def every(asked: Asked) -> object:
    """The project's calls, newest first: `?function=`, `?search=`, `?before=ID`, `?limit=`."""
    query = asked.request.query
    wanted = CallFilter(
        asked.project.id,
        await _function_id(asked),
        query.get("search", "")[:500],
        _before(query.get("before", "")),
        asked.number("limit", 50),
    )
    return list(await asked.services.calls.every(wanted))


@table.get("/api/projects/{project}/invocations/stream", Right.READ)
async def stream(asked: Asked) -> web.StreamResponse:
    """The project's calls as they come, as server-sent events."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    set_headers(response, asked.request[REQUEST_ID])
    stopping = asked.request.app[STOPPING]
    async with asked.services.calls.follow(asked.project.id, await _function_id(asked)) as calls:
        await response.prepare(asked.request)
        with contextlib.suppress(ConnectionError):
            await response.write(b": from here on\n\n")
            async for call in _until(calls, stopping):
                await response.write(_event(call))
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


def _before(text: str) -> str | None:
    if text and not _CALL_ID.fullmatch(text):
        raise Invalid("before is the id of a call")
    return text or None


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


def _event(call: Call | Missed | None) -> bytes:
    if call is None:
        return b": still here\n\n"
    if isinstance(call, Missed):
        return b": %d calls were left out\n\n" % call.calls
    return b"data: " + dump(call) + b"\n\n"


async def _until(calls: AsyncIterator[Call | Missed], stopping: asyncio.Event) -> AsyncIterator[Call | Missed | None]:
    """The calls, until the server stops; None when there was none for a while, since only writing notices the dead."""
    following = asyncio.ensure_future(anext(calls))
    stopped = asyncio.ensure_future(stopping.wait())
    try:
        while True:
            done, _ = await asyncio.wait(
                {following, stopped}, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if stopped in done:
                return
            if not done:
                yield None
                continue
            try:
                call = following.result()
            except StopAsyncIteration:
                return
            following = asyncio.ensure_future(anext(calls))
            yield call
    finally:
        for task in (following, stopped):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                await task
