"""A push's output: appended once, followed by any number of readers, each at its own pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

LIMIT_BYTES = 1024 * 1024
DROPPED = "(more output was dropped: a push keeps 1 MB of it)"


class PushLog:
    """Lines in the order in which they were said; past 1 MB only `dropped` is, and the last word."""

    def __init__(self, dropped: str = DROPPED) -> None:
        self._dropped = dropped
        self._lines: list[str] = []
        self._bytes = 0
        self._closed = False
        self._changed = asyncio.Event()

    def append(self, line: str, *, last: bool = False) -> None:
        """Adds one line; readers wake up. The `last` word is kept whatever came before."""
        if self._closed:
            return
        self._bytes += len(line) + 1
        if self._bytes > LIMIT_BYTES and not last:
            line = self._dropped
            if self._lines and self._lines[-1] == line:
                return
        self._lines.append(line)
        self._wake()

    def close(self) -> None:
        """No more lines come; readers end."""
        self._closed = True
        self._wake()

    def text(self) -> str:
        """Everything so far, a line each."""
        return "".join(f"{line}\n" for line in self._lines)

    async def follow(self) -> AsyncIterator[str]:
        """Every line from the first on, as they come, until the log is closed."""
        position = 0
        while True:
            while position < len(self._lines):
                position += 1
                yield self._lines[position - 1]
            if self._closed:
                return
            await self._changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
