"""The frames between server and runner as values: bytes in, frames out.

Pure: no sockets, no clock. What comes from a runner comes from whoever wrote the function, so that every length is
limited before it is believed. Heads stay bytes here: who sends an answer on judges what it says.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import orjson

from clowdy.runtimes.inside import frames
from clowdy.runtimes.inside.frames import BODY_LIMIT, HEAD_LIMIT, HEADER, HEADER_BYTES, MAGIC, pack

__all__ = [
    "Decoder",
    "Frame",
    "WireError",
    "dump",
    "frames",
    "pack",
]


class WireError(ValueError):
    """Bytes that are not a frame."""


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
