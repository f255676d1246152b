"""Calls of async handlers on one asyncio loop that lives as long as the instance."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

from . import frames
from .codec import decode
from .resident import arguments, end_if_forked, failure, result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any

    from .channel import Channel
    from .loading import Function
    from .logs import CallLog, Logs

_log: ContextVar[CallLog | None] = ContextVar("log", default=None)
_loop: asyncio.AbstractEventLoop | None = None


def run(value: Awaitable[Any]) -> Any:
    """What an awaitable that a plain handler returned comes to."""
    global _loop
    if _loop is None:
        _loop = asyncio.new_event_loop()
        asyncio.set_event_loop(_loop)

    async def wait() -> Any:
        return await value

    return _loop.run_until_complete(wait())


def serve(channel: Channel, logs: Logs, function: Function, names: dict[str, Any]) -> None:
    """Answers calls, several at once where the server sends them so, until the process is killed."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    logs.current = _log.get
    running: dict[int, asyncio.Task[None]] = {}

    async def answer(call: int, head: bytes, body: bytes) -> None:
        log = logs.begin(call)
        _log.set(log)
        try:
            said = decode(head.decode())
            event, context = arguments(function, said, body, names)
            value = function.call(event, context) if function.arguments == 2 else function.call(event)
            if hasattr(value, "__await__"):
                value = await value
            frame = result(said, call, value)
        except BaseException as error:  # noqa: BLE001  (also SystemExit, which would end the loop)
            frame = failure(log, call, error)
        end_if_forked(logs)
        channel.send(logs.end(log) + frame)
        running.pop(call, None)

    def readable() -> None:
        while True:
            kind, call, head, body = channel.read()
            if kind == frames.CALL:
                running[call] = loop.create_task(answer(call, head, body))
            elif kind == frames.CANCEL and call in running:
                running[call].cancel()
            if not channel.waiting:
                return

    loop.add_reader(channel.descriptor, readable)
    loop.run_forever()
