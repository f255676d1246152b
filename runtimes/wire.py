"""The frames between server and runner as values: bytes in, frames out, and the heads of calls and answers.

Pure: no sockets, no clock. What comes from a runner comes from whoever wrote the function, so that every length is
limited before it is believed, and `parse_answer_head` checks all that HTTP would forbid.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from clowdy.runtimes.inside import frames
from clowdy.runtimes.inside.frames import BODY_LIMIT, HEAD_LIMIT, HEADER, HEADER_BYTES, MAGIC, pack

__all__ = [
    "AnswerHead",
    "Decoder",
    "Frame",
    "WireError",
    "answer_head",
    "call_head",
    "dump",
    "frames",
    "pack",
    "parse_answer_head",
]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class WireError(ValueError):
    """Bytes that are not a frame, or a head that says what no head may say."""


class Frame(NamedTuple):
    """One frame; `kind` is one of the numbers in `frames`."""

    kind: int
    call: int
    head: bytes
    body: bytes


class Decoder:
    """Turns bytes, however they were cut, into frames; raises WireError at the first byte that is none.

    It never holds more than one frame of the largest size that is allowed.
    """

    __slots__ = ("_body_limit", "_buffer", "_head_limit", "_wanted")

    def __init__(self, head_limit: int = HEAD_LIMIT, body_limit: int = BODY_LIMIT) -> None:
        self._head_limit = head_limit
        self._body_limit = body_limit
        self._buffer = bytearray()
        self._wanted = HEADER_BYTES

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes."""
        buffer = self._buffer
        if buffer:
            buffer += data
            if len(buffer) < self._wanted:
                return []
            data = bytes(buffer)
            buffer.clear()
        found: list[Frame] = []
        offset = 0
        size = len(data)
        while True:
            start = offset + HEADER_BYTES
            if start > size:
                self._wanted = HEADER_BYTES
                break
            magic, kind, zero, call, head_length, body_length = HEADER.unpack_from(data, offset)
            if magic != MAGIC or zero or not frames.FIRST_KIND <= kind <= frames.LAST_KIND:
                raise WireError("not a frame")
            if head_length > self._head_limit or body_length > self._body_limit:
                raise WireError("a frame above its limit")
            middle = start + head_length
            end = middle + body_length
            if end > size:
                self._wanted = end - offset
                break
            found.append(Frame(kind, call, data[start:middle], data[middle:end]))
            offset = end
        if offset < size:
            buffer += data[offset:]
        return found


def dump(value: Any) -> bytes:
    """JSON of `value`, also where its texts hold what UTF-8 cannot."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


def call_head(
    *,
    trigger: str,
    request_id: str,
    release: int | None,
    timeout_seconds: float,
    method: str = "",
    path: str = "",
    params: Mapping[str, str] | None = None,
    query: str = "",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """The head of a call. A `gateway` call has a request line and raw body, any other the event's JSON as body.

    `query` is raw, without `?`; header names are lower-case.
    """
    head: dict[str, Any] = {
        "trigger": trigger,
        "request_id": request_id,
        "release": release,
        "timeout": timeout_seconds,
    }
    if trigger == "gateway":
        head["method"] = method
        head["path"] = path
        head["params"] = {} if params is None else params
        head["query"] = query
        head["headers"] = {} if headers is None else headers
    return dump(head)


class AnswerHead(NamedTuple):
    """Status and headers of an answer, safe to be sent."""

    status: int
    headers: tuple[tuple[str, str], ...]


def answer_head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """The head of an answer that is not simply 200 and JSON."""
    return dump({"status": status, "headers": [list(pair) for pair in headers]})


def parse_answer_head(head: bytes) -> AnswerHead:
    """What a runner's answer says; raises WireError for what HTTP forbids. Empty: 200 and JSON."""
    if not head:
        return _PLAIN_JSON
    try:
        content = orjson.loads(head)
        status = content["status"]
        headers = tuple((name, value) for name, value in content["headers"])
    except (ValueError, KeyError, TypeError):
        raise WireError("the answer's head is not one") from None
    if type(status) is not int or not 200 <= status <= 599:
        raise WireError(f"status {status!r} is outside 200 to 599"[:200])
    for name, value in headers:
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise WireError(f"header name {name!r} is not allowed"[:200])
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise WireError(f"the value of header {name} holds what HTTP forbids"[:200])
    return AnswerHead(status, headers)


_PLAIN_JSON = AnswerHead(200, (("Content-Type", "application/json"),))
