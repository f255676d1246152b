"""Whose turn it is: pushes that build go one after the other, and the next one knows whom it waits for."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


class Turns:
    """One queue for each project."""

    def __init__(self) -> None:
        self._queues: defaultdict[str, deque[tuple[str, asyncio.Event]]] = defaultdict(deque)

    def holder(self, project_id: str) -> str | None:
        """Who has the turn now."""
        queue = self._queues.get(project_id)
        return queue[0][0] if queue else None

    @asynccontextmanager
    async def turn(
        self, project_id: str, who: str, waiting: Callable[[str], Awaitable[None]]
    ) -> AsyncIterator[str | None]:
        """Holds the project's turn; yields for whom it waited last, or None.

        `waiting` is told the name of each one that it waits for. Giving up while waiting leaves the queue intact.
        """
        queue = self._queues[project_id]
        mine = (who, asyncio.Event())
        queue.append(mine)
        waited_for: str | None = None
        try:
            while queue[0] is not mine:
                ahead = queue[0]
                waited_for = ahead[0]
                await waiting(ahead[0])
                if queue[0] is ahead:
                    await ahead[1].wait()
            yield waited_for
        finally:
            queue.remove(mine)
            mine[1].set()
            if not queue:
                self._queues.pop(project_id, None)
