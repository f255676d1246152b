"""Runs, before a fork, what the runner itself runs before and in an application's first call.

Python counts and specialises code where it lies while it runs the first times, which writes to it: memory that is
written to after the fork is each child's own. What has run often enough before stays shared. It is the runner's code
and asyncio's alone: a framework may have libraries in front of it that tell others of calls, and nobody made these.
"""

from __future__ import annotations

import asyncio
import logging
import os

from . import frames
from .asgi import Application
from .channel import Channel
from .codec import to_bytes
from .loading import stdlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .logs import Logs

_STARTS = 10
_CALLS = 60
_BODY = b'{"name": "a", "number": 1}'
_HEAD = {
    "trigger": "gateway",
    "request_id": "",
    "release": 0,
    "timeout": 30,
    "path": "/a",
    "prefix": "/prefix",
    "params": {},
    "query": "number=1",
    "headers": {"host": "localhost", "content-type": "application/json", "content-length": str(len(_BODY))},
    "client": ["127.0.0.1", 0],
    "scheme": "http",
    "http_version": "1.1",
}


def warm_up(logs: Logs) -> None:
    """Starts applications of no content and calls one, unless loops here are not asyncio's own."""
    if type(asyncio.get_event_loop_policy()).__module__ != asyncio.unix_events.__name__:
        # Another kind may open files that last, and then nothing could be forked.
        return
    logger = logging.getLogger("asyncio")
    disabled, logger.disabled = logger.disabled, True
    try:
        for _ in range(_STARTS):
            application = Application(_nothing)
            application.start()
            _end(application)
        _call_often(logs)
    finally:
        logger.disabled = disabled
        asyncio.set_event_loop(None)


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    if scope["type"] == "lifespan":
        await send({"type": "lifespan.startup.complete"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def _call_often(logs: Logs) -> None:
    """Calls an application as the server would, over a channel whose other end is here."""
    sockets = stdlib("_socket")
    # Their descriptors only: an object of either end would close it once more.
    near, far = (end.detach() for end in sockets.socketpair())
    application = Application(_nothing)
    channel = Channel(near)
    # What is printed meanwhile is of no call that anybody made.
    before, current = logs.redirect(channel), logs.current
    try:
        application.start()
        caller = _Caller(Channel(far), application.loop)
        application.loop.add_reader(far, caller.heard)
        application.loop.call_soon(caller.call)
        application.serve(channel, logs, {})
    finally:
        application.loop.remove_reader(near)
        application.loop.remove_reader(far)
        logs.redirect(before)
        logs.current = current
        _end(application)
        os.close(near)
        os.close(far)


class _Caller:
    """Sends one call after the other, GET and POST in turn, and ends the loop after the last."""

    def __init__(self, channel: Channel, loop: asyncio.AbstractEventLoop) -> None:
        self._channel = channel
        self._loop = loop
        self._calls = 0

    def call(self) -> None:
        """Sends the next call."""
        self._calls += 1
        posts = self._calls % 2
        head = {**_HEAD, "method": "POST" if posts else "GET"}
        self._channel.send(frames.pack(frames.CALL, self._calls, to_bytes(head), _BODY if posts else b""))

    def heard(self) -> None:
        """Takes what the application answers."""
        over = False
        while not over or self._channel.waiting:
            over = self._channel.read()[0] in (frames.END, frames.RESULT, frames.FAILED)
        if self._calls < _CALLS:
            self.call()
        else:
            self._loop.stop()


def _end(application: Application) -> None:
    """Ends what its lifespan left waiting, so that nothing of it is in the children."""
    for task in asyncio.all_tasks(application.loop):
        task.cancel()
    for _ in range(3):
        application.loop.run_until_complete(asyncio.sleep(0))
    application.loop.close()
