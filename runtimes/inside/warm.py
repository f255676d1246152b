"""Runs, before a fork, what every application runs before and in its first call.

Python counts and specialises code where it lies while it runs the first times, which writes to it: memory that is
written to after the fork is each child's own. What has run often enough before stays shared. No code of the
application's own is run.
"""

from __future__ import annotations

import asyncio
import os
import sys

from . import frames
from .asgi import Application
from .channel import Channel
from .codec import to_bytes
from .loading import stdlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
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
    """Starts applications of no content, and calls one of the framework that has been imported, if it is known."""
    for _ in range(_STARTS):
        application = Application(_nothing)
        application.start()
        _end(application)
    try:
        _call_often(_of_the_framework() or _nothing, logs)
    except Exception:  # noqa: BLE001, S110  (a release that has other parts: its children write to their own memory)
        pass
    asyncio.set_event_loop(None)


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    if scope["type"] == "lifespan":
        await send({"type": "lifespan.startup.complete"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def _call_often(framework: Any, logs: Logs) -> None:
    """Calls `framework` as an instance would, over a channel whose other end is here."""
    sockets = stdlib("_socket")
    # Their descriptors only: an object of either end would close it once more.
    near, far = (end.detach() for end in sockets.socketpair())
    application = Application(framework)
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


def _of_the_framework() -> Any:
    for module, make in _MAKERS.items():
        if module in sys.modules:
            return make()
    return None


def _fastapi() -> Any:
    fastapi, pydantic = sys.modules["fastapi"], sys.modules["pydantic"]
    if _is_wrapped(fastapi.FastAPI, "fastapi.applications") or _is_starlette_wrapped():
        return None
    fields = {"name": str, "number": int}
    thing = type("Thing", (pydantic.BaseModel,), {"__annotations__": fields, "__module__": __name__})

    async def read(name: Any, number: Any) -> Any:
        return thing(name=name, number=number)

    async def write(name: Any, body: Any) -> Any:
        return {"name": name, "body": body}

    # Their own are texts.
    read.__annotations__ = fields
    write.__annotations__ = {"name": str, "body": thing}
    application = fastapi.FastAPI()
    application.get("/{name}", response_model=thing)(read)
    application.post("/{name}", response_model=None)(write)
    return application


def _starlette() -> Any:
    applications = sys.modules.get("starlette.applications")
    responses = sys.modules.get("starlette.responses")
    if applications is None or responses is None or _is_starlette_wrapped():
        return None

    async def answer(request: Any) -> Any:
        await request.body()
        return responses.JSONResponse({"number": request.query_params["number"]})

    route = sys.modules["starlette.routing"].Route("/{name}", answer, methods=["GET", "POST"])
    return applications.Starlette(routes=[route])


def _is_starlette_wrapped() -> bool:
    return _is_wrapped(sys.modules["starlette.routing"].Router, "starlette.routing")


def _is_wrapped(kind: Any, module: str) -> bool:
    """Whether a library has put itself in front of it: that one must not hear of calls that nobody made."""
    return bool(kind.__call__.__module__ != module)


# The first that is there: FastAPI is made of Starlette.
_MAKERS: dict[str, Callable[[], Any]] = {"fastapi": _fastapi, "starlette.routing": _starlette}
