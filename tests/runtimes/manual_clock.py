"""A clock that tests move by hand."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count


@dataclass(order=True, slots=True)
class ManualTimer:
    """A callback at a time."""

    at: float
    order: int
    callback: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.cancelled = True


class ManualClock:
    """Stands still until `advance`; implements `clowdy.runtimes.clock.Clock`."""

    def __init__(self, start: float = 1000.0) -> None:
        self.time = start
        self._timers: list[ManualTimer] = []
        self._order = count()

    def now(self) -> float:
        return self.time

    def call_later(self, seconds: float, callback: Callable[[], None]) -> ManualTimer:
        timer = ManualTimer(self.time + seconds, next(self._order), callback)
        heapq.heappush(self._timers, timer)
        return timer

    async def advance(self, seconds: float) -> None:
        """Time passes: timers fire in their order, and what they set off runs before time goes on."""
        end = self.time + seconds
        await settle()
        while self._timers and self._timers[0].at <= end:
            timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                self.time = timer.at
                timer.callback()
                await settle()
        self.time = end
        await settle()

    def pending(self) -> int:
        """How many timers wait."""
        return sum(not timer.cancelled for timer in self._timers)


async def settle() -> None:
    """Everything that can go on without time passing goes on."""
    for _ in range(50):
        await asyncio.sleep(0)
