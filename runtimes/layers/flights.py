"""Work that is done once, however many ask for it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from clowdy.runtimes.layers.api import Say

Result = TypeVar("Result")


class _Flight(Generic[Result]):
    task: asyncio.Task[Result]

    def __init__(self) -> None:
        self.listeners: list[Say] = []
        self.said: list[str] = []


class Flights(Generic[Result]):
    """Work by key. Who joins later is told what was said before."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[Result]] = {}

    @property
    def keys(self) -> frozenset[str]:
        """What is being worked on now."""
        return frozenset(self._flights)

    async def join(self, key: str, work: Callable[[Say], Awaitable[Result]], say: Say) -> Result:
        """The result of `work`, which is started if nobody did; cancelled when everyone who waits is."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            flight.task = asyncio.ensure_future(self._fly(key, flight, work))
        for line in flight.said:
            say(line)
        flight.listeners.append(say)
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.listeners.remove(say)
            if not flight.listeners and not flight.task.done():
                # Whoever asks from now on starts anew, and does not meet the end of this one.
                self._forget(key, flight)
                flight.task.cancel()
                await asyncio.wait([flight.task])
                if not flight.task.cancelled():
                    flight.task.exception()

    async def _fly(self, key: str, flight: _Flight[Result], work: Callable[[Say], Awaitable[Result]]) -> Result:
        def say(line: str) -> None:
            flight.said.append(line)
            for listener in list(flight.listeners):
                listener(line)

        try:
            return await work(say)
        finally:
            self._forget(key, flight)

    def _forget(self, key: str, flight: _Flight[Result]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def close(self) -> None:
        """Cancels all of it and returns when it has ended."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
