"""WSGI applications, Flask and Django among them: one call at a time, in the runner's own thread."""

from __future__ import annotations

import io
import sys

from . import frames, told
from .answer import BadResponse, dump_head
from .flow import BlockingFlow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from .channel import Body, Channel


def respond(channel: Channel, call: int, application: Any, said: dict[str, Any], body: Body, context: Any) -> bytes:
    """Sends what an application answers as it comes, and returns the last frame; raises what the application does."""
    answer = _Answer(BlockingFlow(channel, call), said["method"])
    result: Iterable[bytes] = application(environ_of(said, body, context), answer.start_response)
    try:
        pieces = iter(result)
        # A sequence of one, or a first piece of the whole length that was said, need not be sent in pieces.
        for piece in pieces:
            if not piece:
                continue
            if not answer.begun and answer.is_whole(piece, result):
                further = next((other for other in pieces if other), None)
                if further is None:
                    return answer.whole(piece)
                answer.write(piece)
                piece = further
            answer.write(piece)
        return answer.finish()
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            close()


def environ_of(said: dict[str, Any], body: Body, context: Any) -> dict[str, Any]:
    """The environment of a call, as PEP 3333 says; texts hold bytes as Latin-1."""
    path, raw = told.paths(said)
    headers = told.fields(said)
    scheme = said["scheme"]
    host, port = told.server(headers, scheme)
    client = said["client"] or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": said["method"],
        "SCRIPT_NAME": said["prefix"],
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": said["query"].encode().decode("latin-1"),
        "REQUEST_URI": f"{said['prefix']}{raw}{'?' if said['query'] else ''}{said['query']}".encode().decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{said['http_version']}",
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "CONTENT_TYPE": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": io.BytesIO(body) if isinstance(body, bytes) else io.BufferedReader(_Input(body)),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "clowdy.context": context,
    }
    for field, value in headers:
        # Two spellings of one variable: what a proxy in front vouches for could be forged with the other.
        if "_" in field or field == "content-length":
            continue
        key = "CONTENT_TYPE" if field == "content-type" else f"HTTP_{field.upper().replace('-', '_')}"
        known = environ.get(key)
        environ[key] = value if not known else f"{known}{'; ' if field == 'cookie' else ','}{value}"
    # A body that came in chunks had no length: it is known now.
    length = len(body) if isinstance(body, bytes) else sum(map(len, body))
    environ["CONTENT_LENGTH"] = str(length) if length or any(name == "content-length" for name, _ in headers) else ""
    return environ


class _Input(io.RawIOBase):
    """A body in parts, each of which is dropped once it was read."""

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = [memoryview(part) for part in reversed(parts)]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._parts and not self._parts[-1]:
            self._parts.pop()
        if not self._parts:
            return 0
        part = self._parts[-1]
        size = min(len(buffer), len(part))
        buffer[:size] = part[:size]
        self._parts[-1] = part[size:]
        return size


class _Answer:
    """What an application says in one call."""

    def __init__(self, flow: BlockingFlow, method: str) -> None:
        self._flow = flow
        self._method = method
        self._head: tuple[int, list[list[str]]] | None = None

    @property
    def begun(self) -> bool:
        """Whether the head has left."""
        return self._flow.begun

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
        """As PEP 3333 says: twice only with an exception, which is raised when the head has left already."""
        if exc_info is not None:
            try:
                if self.begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._head is not None:
            raise AssertionError("start_response was called twice")
        self._head = _status(status), _pairs(headers)
        return self.write

    def write(self, data: bytes) -> None:
        """Sends `data` at once, after the head."""
        if not isinstance(data, bytes):
            raise TypeError(f"a body is made of bytes, not {type(data).__name__}")
        if not self.begun:
            self._flow.begin(dump_head(*self._said()))
        self._flow.write(data)

    def is_whole(self, first: bytes, result: Any) -> bool:
        """Whether the answer has no more than its first piece, as far as it says."""
        if len(first) > frames.WINDOW or not isinstance(first, bytes):
            return False
        if isinstance(result, list | tuple):
            return len(result) == 1
        return _length(self._said()[1]) == len(first)

    def whole(self, body: bytes) -> bytes:
        """The frame of an answer that is complete."""
        status, headers = self._said()
        given = _length(headers)
        if given is not None and given != len(body) and self._method != "HEAD" and status not in (204, 304):
            raise BadResponse(f"Content-Length is {given}, but the body has {len(body)} bytes")
        return frames.pack(frames.RESULT, self._flow.call, dump_head(status, headers), body)

    def finish(self) -> bytes:
        """The last frame of what was sent in pieces, or had none."""
        return frames.pack(frames.END, self._flow.call) if self.begun else self.whole(b"")

    def _said(self) -> tuple[int, list[list[str]]]:
        if self._head is None:
            raise BadResponse("The application answered without calling start_response")
        return self._head


def _status(status: Any) -> int:
    if not isinstance(status, str) or not status[:3].isdigit() or status[3:4] not in ("", " "):
        raise BadResponse(f"the status {status!r:.80} does not begin with a number of three digits")
    return int(status[:3])


def _pairs(headers: Any) -> list[list[str]]:
    pairs = []
    for name, value in headers:
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError("headers must be pairs of texts")
        if not value.isascii() and max(value) > "\xff":
            raise BadResponse(f"the value of header {name:.80} has a character that is not Latin-1")
        pairs.append([name, value])
    return pairs


def _length(headers: Iterable[list[str]]) -> int | None:
    given = next((value for name, value in headers if name.lower() == "content-length"), None)
    return int(given) if given is not None and given.isascii() and given.isdigit() else None
