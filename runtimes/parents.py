"""Prepared parents of versions that are slow to import: made in the background, kept while they are of use."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from clowdy.runtimes.api import Application, Driver, Instance, Parent, Parents, Ready, StartFailed, StartReason
from clowdy.runtimes.budget import STANDBY_BYTES, Budget, instance_bytes
from clowdy.runtimes.clock import Clock, within
from clowdy.runtimes.fleet import Fleet
from clowdy.runtimes.tasks import Tasks

log = logging.getLogger(__name__)

WORTH_MS = 50.0
"""An import that takes less is not worth a parent's memory."""

GUARD_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class Prepared:
    """One parent: `forking` starts count on it now. A `retired` one forks no more and ends with its last child."""

    application: Application
    parent: Parent
    used: float
    forking: int = 0
    retired: bool = False

    @property
    def size(self) -> int:
        """What it counts for, in bytes: what its import may take, and what it takes to fork."""
        return size_of(self.application)

    @property
    def childless(self) -> bool:
        """Whether no instance needs it."""
        return not (self.forking or self.parent.children)


def size_of(application: Application) -> int:
    """What a parent of `application` counts for, in bytes."""
    return instance_bytes(application) + STANDBY_BYTES


class Nursery:
    """The parents of all versions, at most one that forks for each; they are prepared one at a time.

    That is done while `calm()`, and only with memory that nothing else has: nobody waits for it or makes room.
    """

    def __init__(
        self,
        driver: Driver,
        budget: Budget,
        clock: Clock,
        tasks: Tasks,
        *,
        idle_seconds: float,
        start_seconds: float,
        calm: Callable[[], bool],
    ) -> None:
        self._parents = driver if isinstance(driver, Parents) else None
        self._budget = budget
        self._clock = clock
        self._tasks = tasks
        self._idle_seconds = idle_seconds
        self._start_seconds = start_seconds
        self._calm = calm
        self._due: dict[str, Fleet] = {}
        self._ready: dict[str, Prepared] = {}
        self._all: set[Prepared] = set()
        self._preparing: tuple[Fleet, asyncio.Task[None]] | None = None

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._all)

    def want(self, fleet: Fleet) -> None:
        """The version has an instance: where a parent is worth it, one is prepared when there is time."""
        application = fleet.application
        if self._parents is None or not fleet.forkable or fleet.import_ms < WORTH_MS or application.concurrency < 2:
            return
        if application.key not in self._ready and self._parents.can_prepare(application):
            self._due[application.key] = fleet
            self.advance()

    def advance(self) -> None:
        """Prepares the next one, when there is memory to spare and nobody waits."""
        if self._preparing is not None or self._parents is None or not self._calm() or self._budget.awaited:
            return
        while self._due:
            key, fleet = next(iter(self._due.items()))
            if fleet.size and key not in self._ready:
                if self._budget.take(size_of(fleet.application)):
                    del self._due[key]
                    self._preparing = fleet, self._tasks.spawn(self._prepare(self._parents, fleet))
                return
            del self._due[key]

    async def _prepare(self, parents: Parents, fleet: Fleet) -> None:
        application = fleet.application
        parent: Parent | None = None
        try:
            seconds = self._start_seconds
            parent = await within(self._clock, seconds + GUARD_SECONDS, parents.prepare(application, seconds))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever it is, instances start as they did before)
            fleet.forkable = False
            log.info("%s has no parent to fork: %s", application.function, error)
        finally:
            self._preparing = None
            if parent is None:
                self._budget.give(size_of(application))
        if parent is not None:
            prepared = Prepared(application, parent, self._clock.now())
            self._all.add(prepared)
            self._ready[application.key] = prepared
            parent.on_exit = lambda _: self._ended(prepared, fleet)
        self.advance()

    @contextlib.contextmanager
    def holding(self, fleet: Fleet) -> Iterator[Prepared | None]:
        """The version's parent, which does not go meanwhile to make room; None where it has none."""
        prepared = self._ready.get(fleet.application.key)
        if prepared is None or not prepared.parent.alive:
            yield None
            return
        prepared.forking += 1
        try:
            yield prepared
        finally:
            prepared.forking -= 1
            prepared.used = self._clock.now()
            self._end_if_over(prepared)

    async def fork(self, prepared: Prepared, fleet: Fleet, seconds: float) -> tuple[Instance, Ready] | None:
        """A further instance, or None when it has to be started as any other: then the parent is given up.

        Raises StartFailed when the time is over.
        """
        try:
            return await within(self._clock, seconds + GUARD_SECONDS, prepared.parent.fork(seconds))
        except Exception as error:  # whatever it is, there is the other way
            self._retire(prepared)
            fleet.forkable = False
            log.warning("an instance of %s could not be forked: %s", fleet.application.function, error)
            if isinstance(error, TimeoutError):
                raise StartFailed(StartReason.TIMEOUT, f"not started after {seconds:g} s") from None
            if isinstance(error, StartFailed) and error.reason is StartReason.TIMEOUT:
                raise
            return None

    def evict(self, size: int) -> list[tuple[asyncio.Task[None], int]]:
        """Ends parents that no instance needs, the least recently used first, as far as `size` bytes reach.

        For each its end, and how many bytes that gives back.
        """
        victims: list[tuple[asyncio.Task[None], int]] = []
        for prepared in sorted(self._all, key=lambda each: each.used):
            if size <= 0:
                break
            if prepared.childless:
                victims.append((self._end(prepared), prepared.size))
                size -= prepared.size
        if size > 0 and self._preparing is not None:
            fleet, task = self._preparing
            task.cancel()
            victims.append((task, size_of(fleet.application)))
        return victims

    def reap(self, served: Callable[[str], bool]) -> None:
        """Ends those whose versions have had no instance for too long; `served` says which keys have one."""
        now = self._clock.now()
        for prepared in tuple(self._all):
            if prepared.parent.children or served(prepared.application.key):
                prepared.used = now
            if not prepared.parent.alive or now - prepared.used >= self._idle_seconds:
                self._retire(prepared)
            self._end_if_over(prepared)
        self.advance()

    def retire(self, key: str) -> None:
        """The version's parent forks no more, and goes with its last child."""
        self._due.pop(key, None)
        if self._preparing is not None and self._preparing[0].application.key == key:
            self._preparing[1].cancel()
        if (prepared := self._ready.get(key)) is not None:
            self._retire(prepared)

    def end_project(self, project_id: str) -> list[asyncio.Task[None]]:
        """Ends the parents of a project, and with them their children."""
        for key in [key for key, fleet in self._due.items() if fleet.application.project_id == project_id]:
            del self._due[key]
        ends = [self._end(each) for each in tuple(self._all) if each.application.project_id == project_id]
        if self._preparing is not None and self._preparing[0].application.project_id == project_id:
            self._preparing[1].cancel()
            ends.append(self._preparing[1])
        return ends

    def close(self) -> None:
        """Prepares no more, and forgets those that are there: the driver ends them."""
        self._parents = None
        self._due.clear()
        self._ready.clear()

    def _retire(self, prepared: Prepared) -> None:
        prepared.retired = True
        if self._ready.get(prepared.application.key) is prepared:
            del self._ready[prepared.application.key]
        self._end_if_over(prepared)

    def _end_if_over(self, prepared: Prepared) -> None:
        if prepared.retired and prepared.childless and prepared in self._all:
            self._end(prepared)

    def _end(self, prepared: Prepared) -> asyncio.Task[None]:
        prepared.retired = True
        if self._ready.get(prepared.application.key) is prepared:
            del self._ready[prepared.application.key]
        return self._tasks.spawn(self._kill(prepared))

    async def _kill(self, prepared: Prepared) -> None:
        try:
            await prepared.parent.kill()
        finally:
            self._forget(prepared)

    def _ended(self, prepared: Prepared, fleet: Fleet) -> None:
        if not prepared.retired:
            # What ends by itself would do so again, and take its children with it.
            fleet.forkable = False
            log.warning("the parent of %s ended", fleet.application.function)
        self._forget(prepared)

    def _forget(self, prepared: Prepared) -> None:
        """It is gone, whoever ended it."""
        if prepared in self._all:
            self._all.discard(prepared)
            self._retire(prepared)
            self._budget.give(prepared.size)
