"""ASGI applications, FastAPI and Starlette among them: lifespan, scope, and one conversation for each call."""

from __future__ import annotations

import asyncio
import sys

from . import frames, told
from .answer import BadResponse, dump_head
from .channel import Gone
from .codec import decode
from .event import context_of
from .loading import LoadError, trace
from .looped import Desk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .channel import Channel
    from .logs import Logs
    from .looped import Turn

DISCONNECT_SECONDS = 4.0
"""What an application that was told of the client's leaving may take before it is cancelled."""

# Of the versions that tell an application of a client's leaving while it streams, the one that servers in use name.
_VERSION = {"version": "3.0", "spec_version": "2.3"}
# What frameworks answer by themselves before they hand an exception on.
_NO_WORDS = b"Internal Server Error"


class Application:
    """One application on a loop of its own, which lives as long as the instance."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.loop = asyncio.new_event_loop()
        self.state: dict[str, Any] = {}
        self._lifespan: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Runs what the application does before its first call; raises LoadError.

        One that raises before it heard of its start, returns, or answers it as a request knows no lifespan and goes on
        without.
        """
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._start())

    async def _start(self) -> None:
        begun: asyncio.Future[str | None] = self.loop.create_future()
        heard: list[str] = []

        async def receive() -> dict[str, Any]:
            if heard:
                # An instance is killed, never shut down.
                await self.loop.create_future()
            heard.append("lifespan.startup")
            return {"type": heard[0]}

        async def send(message: dict[str, Any]) -> None:
            kind = message["type"]
            if not kind.startswith("lifespan."):
                # It looks at no scope's type and answers a request: it may go on so for ever, and knows no lifespan.
                if not begun.done():
                    begun.set_result(None)
                raise RuntimeError(f"there is no message {kind} in a lifespan")
            if begun.done():
                return
            if kind == "lifespan.startup.complete":
                begun.set_result(None)
            elif kind == "lifespan.startup.failed":
                begun.set_result(message.get("message") or "the application said that its start failed")

        async def live() -> None:
            scope = {"type": "lifespan", "asgi": _VERSION, "state": self.state}
            try:
                await self.call(scope, receive, send)
            except BaseException as error:  # noqa: BLE001  (also SystemExit, which would end the loop)
                if not begun.done():
                    begun.set_result(trace(error) if heard and not _wants_a_request(error) else None)
            if not begun.done():
                begun.set_result(None)

        self._lifespan = self.loop.create_task(live())
        failed = await begun
        if failed is not None:
            raise LoadError("exception", f"The application did not start: {failed}")

    def serve(self, channel: Channel, logs: Logs, names: dict[str, Any]) -> None:
        """Answers calls until the process is killed."""
        whole_path = _takes_whole_path()

        async def respond(turn: Turn) -> None:
            said = decode(turn.head.decode())
            conversation = _Conversation(turn, said["method"])
            scope = scope_of(said, names, whole_path)
            scope["state"] = self.state.copy()
            try:
                await self.call(scope, conversation.receive, conversation.send)
            except BaseException as error:  # noqa: BLE001  (whatever ends the call is its log's)
                conversation.raised(error)
            else:
                conversation.returned()

        Desk(channel, logs, respond, patience=DISCONNECT_SECONDS).serve(self.loop)


def _wants_a_request(error: BaseException) -> bool:
    """Whether an application took its start for a request."""
    return isinstance(error, KeyError) and error.args[:1] in (("path",), ("method",), ("headers",), ("query_string",))


def _takes_whole_path() -> bool:
    """Whether `path` begins with `root_path`, as ASGI has it. Starlette before 0.33 would find no route then."""
    routing = sys.modules.get("starlette.routing")
    return routing is None or hasattr(routing, "get_route_path")


def scope_of(said: dict[str, Any], names: dict[str, Any], whole_path: bool = True) -> dict[str, Any]:
    """The scope of a call, all but `state`."""
    prefix = said["prefix"]
    path, raw = told.paths(said)
    headers = told.fields(said)
    scheme = said["scheme"]
    client = said["client"]
    return {
        "type": "http",
        "asgi": _VERSION,
        "http_version": said["http_version"],
        "method": said["method"],
        "scheme": scheme,
        # With anything else FastAPI redirects out of the project, and `/docs` asks for the wrong file.
        "path": prefix + path if whole_path else path,
        "root_path": prefix,
        "raw_path": (prefix + raw).encode(),
        "query_string": said["query"].encode(),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "client": None if client is None else (client[0], client[1]),
        "server": told.server(headers, scheme),
        "extensions": {},
        "clowdy": context_of(said, names),
    }


class _Conversation:
    """What an application hears and says in one call."""

    def __init__(self, turn: Turn, method: str) -> None:
        self._turn = turn
        self._method = method
        # The last first: each part is dropped once the application has it.
        self._body = [turn.body] if isinstance(turn.body, bytes) else turn.body[::-1]
        turn.body = b""
        self._head: tuple[int, list[list[str]]] | None = None
        self._last: bytes | None = None
        self._wordless = False
        self._over = asyncio.Event()
        turn.on_left = self._over.set
        if turn.flow.gone:
            self._over.set()

    async def receive(self) -> dict[str, Any]:
        if self._body:
            return {"type": "http.request", "body": self._body.pop(), "more_body": bool(self._body)}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if self._last is not None or self._turn.over:
            raise RuntimeError(f"{kind} was sent after the end of the answer")
        if kind == "http.response.start":
            if self._head is not None:
                raise RuntimeError("http.response.start was sent twice")
            self._head = int(message["status"]), _pairs(message.get("headers", ()))
        elif kind != "http.response.body":
            raise RuntimeError(f"there is no message {kind} here")
        elif self._head is None:
            raise RuntimeError("http.response.body was sent before http.response.start")
        else:
            await self._send_body(*self._head, bytes(message.get("body", b"")), bool(message.get("more_body", False)))

    async def _send_body(self, status: int, headers: list[list[str]], body: bytes, more: bool) -> None:
        flow = self._turn.flow
        if flow.gone:
            raise Gone("the client has left")
        if not flow.begun:
            if not more:
                self._check_length(status, headers, body)
                if len(body) <= frames.WINDOW:
                    self._wordless = status == 500 and body == _NO_WORDS
                    self._end(frames.pack(frames.RESULT, self._turn.number, dump_head(status, headers), body))
                    return
            flow.begin(dump_head(status, headers))
        await flow.write(body)
        if not more:
            self._end(frames.pack(frames.END, self._turn.number))

    def _check_length(self, status: int, headers: list[list[str]], body: bytes) -> None:
        given = next((value for name, value in headers if name.lower() == "content-length"), None)
        if given is None:
            headers.append(["Content-Length", str(len(body))])
        elif given != str(len(body)) and self._method != "HEAD" and status not in (204, 304):
            raise BadResponse(f"Content-Length is {given[:20]}, but the body has {len(body)} bytes")

    def _end(self, last: bytes) -> None:
        """The answer is complete: its last frame leaves once it is known whether the application raises as well."""
        self._last = last
        asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        if self._last is not None:
            self._over.set()
            self._turn.finish(self._last)

    def raised(self, error: BaseException) -> None:
        """The application raised."""
        if self._last is None or self._wordless:
            self._turn.fail(error)
        else:
            if not self._turn.over:
                self._turn.log.add(f"Function error: {trace(error)}\n".encode("utf-8", "backslashreplace"))
            self._flush()

    def returned(self) -> None:
        """The application returned."""
        if self._last is not None:
            self._flush()
        elif self._turn.flow.gone:
            self._turn.fail(Gone("the client has left"))
        elif self._head is None:
            self._turn.fail(BadResponse("The application returned without an answer"))
        else:
            self._turn.fail(BadResponse("The application returned before its answer was complete"))


def _pairs(headers: Any) -> list[list[str]]:
    try:
        return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]
    except (AttributeError, TypeError, ValueError):
        raise TypeError("headers must be pairs of bytes") from None
