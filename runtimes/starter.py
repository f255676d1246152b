"""Bringing up an instance: a standby or a new sandbox, once there is memory for the version that takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from clowdy.runtimes.api import Driver, Instance, Ready, StartFailed, StartReason, kind_of
from clowdy.runtimes.budget import Budget, instance_bytes, standby_bytes
from clowdy.runtimes.clock import Clock, within
from clowdy.runtimes.fleet import Fleet
from clowdy.runtimes.parents import Nursery
from clowdy.runtimes.refusals import NoMemory
from clowdy.runtimes.standby import Standbys
from clowdy.runtimes.tasks import Tasks

Result = TypeVar("Result")

STARTS_AT_ONCE = 8
"""How many sandboxes are started at once: more of them would only be slower together."""

GUARD_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Want:
    """How badly an instance is wanted: how long it may take to start, until when it waits for memory, and whether
    idle instances that `min_warm` keeps may go for it."""

    seconds: float
    waits: Callable[[], bool]
    over_warm: bool = True


Evict = Callable[[int, bool], list[asyncio.Task[None]]]
"""Ends what may go for some bytes, `min_warm` included or not, as far as that reaches."""


class Starter:
    """Starts instances within the memory budget, and ends them."""

    def __init__(
        self,
        driver: Driver,
        budget: Budget,
        standbys: Standbys,
        nursery: Nursery,
        clock: Clock,
        tasks: Tasks,
        *,
        start_seconds: float,
        evict: Evict,
    ) -> None:
        self._driver = driver
        self._budget = budget
        self._standbys = standbys
        self._nursery = nursery
        self._clock = clock
        self._tasks = tasks
        self._start_seconds = start_seconds
        self._evict = evict
        self._gate = asyncio.Semaphore(STARTS_AT_ONCE)

    async def bring_up(
        self, fleet: Fleet, want: Want, use: Callable[[Instance], Coroutine[Any, Any, Result]]
    ) -> tuple[Instance, Result]:
        """An instance, counted with the memory of the fleet's version, and the result of `use`.

        Raises StartFailed, NoMemory or DriverUnavailable; then nothing of it is left.
        """
        memory = instance_bytes(fleet.application)
        kind = kind_of(fleet.application)
        instance = self._standbys.take(kind)
        counted = standby_bytes(kind) if instance is not None else 0
        try:
            await self._make_room(fleet, memory - counted, want)
            counted = memory
            if instance is None or not instance.alive:
                async with self._gate:
                    instance = await within(self._clock, self._start_seconds, self._driver.start(kind))
            # The instance keeps this time itself; this only guards against one that does not.
            result = await within(self._clock, want.seconds + GUARD_SECONDS, use(instance))
        except TimeoutError:
            self.end(instance, counted)
            raise StartFailed(StartReason.TIMEOUT, f"not started after {want.seconds:g} s") from None
        except BaseException:
            self.end(instance, counted)
            raise
        return instance, result

    async def fork(self, fleet: Fleet, want: Want) -> tuple[Instance, Ready] | None:
        """An instance from the version's parent, counted as any other; None where it has to be brought up.

        Raises as `bring_up` does.
        """
        with self._nursery.holding(fleet) as prepared:
            if prepared is None:
                return None
            memory = instance_bytes(fleet.application)
            await self._make_room(fleet, memory, want)
            made: tuple[Instance, Ready] | None = None
            try:
                async with self._gate:
                    made = await self._nursery.fork(prepared, fleet, want.seconds)
            finally:
                if made is None:
                    self._budget.give(memory)
            return made

    async def _make_room(self, fleet: Fleet, size: int, want: Want) -> None:
        """Counts `size` bytes, ending what may go; waits as long as the caller does, then raises NoMemory."""
        while not self._budget.take(size):
            if victims := self._evict(size - self._budget.room, want.over_warm):
                await asyncio.wait(victims)
            elif want.waits():
                fleet.short += 1
                try:
                    await self._budget.wait()
                finally:
                    fleet.short -= 1
            else:
                raise NoMemory(f"no memory for another instance of {fleet.application.function}")

    def end(self, instance: Instance | None, counted: int) -> asyncio.Task[None]:
        """Kills an instance that serves no version, and then gives back the memory that it was counted with."""
        return self._tasks.spawn(self._end(instance, counted))

    async def _end(self, instance: Instance | None, counted: int) -> None:
        try:
            if instance is not None:
                await instance.kill()
        finally:
            self._budget.give(counted)
