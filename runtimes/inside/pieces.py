"""What a generator yields, as the head and the pieces of an answer.

A first dict with `statusCode` is the head, as it would be of a whole answer. Text and bytes are sent as they are,
anything else as a line of JSON.
"""

from __future__ import annotations

from .answer import BadResponse, dump_head, has_content_type, response_body, response_head
from .codec import to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TEXT = "text/plain; charset=utf-8"


class Pieces:
    """The answer that one generator makes. `head` is None until it is known."""

    __slots__ = ("_first", "_headers", "_status", "head")

    def __init__(self) -> None:
        self.head: bytes | None = None
        self._status = 200
        self._headers: list[list[str]] = []
        self._first = True

    def add(self, value: Any) -> bytes:
        """The piece that `value` is, perhaps empty; raises BadResponse."""
        first, self._first = self._first, False
        if first and isinstance(value, dict) and "statusCode" in value:
            self._status, self._headers = response_head(value)
            if "body" not in value:
                # Without a type the first piece decides; with one the caller need not wait for a piece.
                if has_content_type(self._headers):
                    self.head = dump_head(self._status, self._headers)
                return b""
            piece, kind = response_body(value)
        else:
            piece, kind = _piece(value)
        if self.head is None:
            self._decide(kind)
        return piece

    def finish(self) -> bytes:
        """The head of an answer that has ended, for one that had no piece."""
        if self.head is None:
            self._decide(_TEXT)
        assert self.head is not None
        return self.head

    def _decide(self, kind: str) -> None:
        if not has_content_type(self._headers) and self._status not in (204, 304):
            self._headers.append(["Content-Type", kind])
        self.head = dump_head(self._status, self._headers)


def _piece(value: Any) -> tuple[bytes, str]:
    if isinstance(value, str):
        try:
            return value.encode(), _TEXT
        except UnicodeEncodeError:
            raise BadResponse("Function yielded text that UTF-8 cannot hold") from None
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), "application/octet-stream"
    try:
        return to_bytes(value) + b"\n", "application/x-ndjson"
    except (TypeError, ValueError, RecursionError) as error:
        raise BadResponse(
            f"Function yielded a value that is no text, bytes or JSON: {type(value).__name__} ({str(error)[:200]})"
        ) from None
