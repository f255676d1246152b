"""Following calls as they are recorded: `clowdy logs -f` and the live pages."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Self

from clowdy.server.serve.records import Record

WAITING = 1_000
"""How many calls a slow reader may be behind."""


class Missed(NamedTuple):
    """A reader was too slow for this many calls."""

    calls: int


class Tail:
    """New calls of a project, or of one function, in the order in which they ended; Missed where some are left out.

    It begins when it is made. Iterate it, and `close` it: an asynchronous iterator is not closed by itself.
    """

    def __init__(self, project_id: str, function_id: str | None, on_close: Callable[[Tail], None]) -> None:
        self._project_id = project_id
        self._function_id = function_id
        self._on_close = on_close
        self._waiting: deque[Record] = deque()
        self._missed = 0
        self._closed = False
        self._news: asyncio.Future[None] | None = None

    def offer(self, record: Record) -> None:
        """A call was recorded; it is dropped if it is of others, or takes the place of the oldest one unread."""
        if record.project_id != self._project_id or self._function_id not in (None, record.function_id):
            return
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self._missed += 1
        self._waiting.append(record)
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record | Missed:
        while not (self._waiting or self._closed):
            self._news = asyncio.get_running_loop().create_future()
            try:
                await self._news
            finally:
                self._news = None
        if self._missed:
            missed, self._missed = Missed(self._missed), 0
            return missed
        if self._waiting:
            return self._waiting.popleft()
        raise StopAsyncIteration

    def close(self) -> None:
        """Ends it, also for a reader that waits; what is unread can still be read."""
        if not self._closed:
            self._closed = True
            self._on_close(self)
            self._wake()
