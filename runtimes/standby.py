"""Empty sandboxes, started before they are needed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

from clowdy.runtimes.api import Driver, DriverUnavailable, Exit, Instance, Kind
from clowdy.runtimes.backoff import Backoff
from clowdy.runtimes.budget import Budget, standby_bytes
from clowdy.runtimes.clock import Clock, within
from clowdy.runtimes.tasks import Tasks
from clowdy.schema.manifest import Network

log = logging.getLogger(__name__)

PLAIN = Kind(None, Network.OFF)
KIND_SECONDS = 3600.0
"""For how long after its last use another kind than the plain one has a standby."""


class Standbys:
    """`plain` empty sandboxes of the plain kind, and one of each other kind used or expected in the last hour.

    They are refilled one at a time, and only while `calm()`: a caller who waits for a start comes first. What is
    only expected takes no more than half of all memory.
    """

    def __init__(
        self, driver: Driver, budget: Budget, clock: Clock, tasks: Tasks, *, plain: int, calm: Callable[[], bool]
    ) -> None:
        self._driver = driver
        self._budget = budget
        self._clock = clock
        self._tasks = tasks
        self._plain = plain
        self._calm = calm
        self._ready: dict[Kind, list[Instance]] = {}
        self._used: dict[Kind, float] = {}
        self._expected: set[Kind] = set()
        self._refilling: asyncio.Task[None] | None = None
        self._arriving = PLAIN
        self._backoff = Backoff(free=0)
        self._passing = Backoff(free=0, most_seconds=1.0)
        self._open = False

    @property
    def arriving(self) -> asyncio.Task[None] | None:
        """Ends when the one that is being started is there and can be evicted; None when none is."""
        return self._refilling

    @property
    def arriving_bytes(self) -> int:
        """What that one counts for."""
        return standby_bytes(self._arriving)

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(map(len, self._ready.values()))

    def open(self) -> None:
        """Begins to fill up."""
        self._open = True
        # A driver may open long after what serves was told: that nobody could use a kind so far says nothing of it.
        self._used = dict.fromkeys(self._used, self._clock.now())
        self.refill()

    def close(self) -> None:
        """Starts no more, and forgets those that are there: the driver ends them."""
        self._open = False
        for instance in self._take_all():
            self._budget.give(standby_bytes(instance.kind))
            instance.on_exit = None

    def _take_all(self) -> Iterator[Instance]:
        for instances in self._ready.values():
            while instances:
                yield instances.pop()

    def take(self, kind: Kind) -> Instance | None:
        """A standby for `kind`, for whose `standby_bytes` the caller answers from now on; None when none is left."""
        self._used[kind] = self._clock.now()
        self._expected.discard(kind)
        instances = self._ready.get(kind)
        while instances:
            instance = instances.pop()
            instance.on_exit = None
            if instance.alive:
                self._backoff.worked()
                return instance
            self._budget.give(standby_bytes(kind))
        return None

    def expect(self, kind: Kind) -> None:
        """What serves now needs `kind`: the first call of it after a start of the server finds a standby."""
        if kind != PLAIN and kind not in self._used:
            self._used[kind] = self._clock.now()
            self._expected.add(kind)
            self.refill()

    def evict(self, size: int) -> list[Instance]:
        """Standbys, now the caller's to end, that make up `size` bytes or are all that there is."""
        victims: list[Instance] = []
        for instances in sorted(self._ready.values(), key=len, reverse=True):
            while instances and size > 0:
                instance = instances.pop()
                instance.on_exit = None
                victims.append(instance)
                size -= standby_bytes(instance.kind)
        return victims

    def expire(self) -> list[Instance]:
        """Standbys of kinds that nobody used for an hour, now the caller's to end."""
        now = self._clock.now()
        victims: list[Instance] = []
        for kind in [kind for kind, used in self._used.items() if now - used > KIND_SECONDS]:
            del self._used[kind]
            self._expected.discard(kind)
            if kind != PLAIN:
                victims += self._ready.pop(kind, [])
        for victim in victims:
            victim.on_exit = None
        return victims

    def refill(self) -> None:
        """Starts what is missing, when there is memory to spare and nobody waits."""
        if self._refilling is None and self._missing() is not None:
            self._refilling = self._tasks.spawn(self._refill())

    def _missing(self) -> Kind | None:
        if not self._open or not self._calm() or self._budget.awaited:
            return None
        if self._backoff.blocked(self._clock.now()) or self._passing.blocked(self._clock.now()):
            return None
        if len(self._ready.get(PLAIN, ())) < self._plain:
            return PLAIN if self._fits(PLAIN) else None
        missing = (kind for kind in self._used if kind != PLAIN and not self._ready.get(kind))
        return next(filter(self._fits, missing), None)

    def _fits(self, kind: Kind) -> bool:
        left = self._budget.room - standby_bytes(kind)
        # Parents have to find memory as well, and are known to be of use.
        return left >= (self._budget.limit // 2 if kind in self._expected else 0)

    async def _refill(self) -> None:
        try:
            while (kind := self._missing()) is not None and self._budget.take(standby_bytes(kind)):
                self._arriving = kind
                await self._start(kind)
        finally:
            self._refilling = None

    async def _start(self, kind: Kind) -> None:
        instance: Instance | None = None
        try:
            instance = await within(self._clock, 10.0, self._driver.start(kind))
        except (DriverUnavailable, TimeoutError) as error:
            if isinstance(error, DriverUnavailable) and error.passing:
                # Nothing is wrong with the kind, and to find out again costs nothing.
                self._passing.failed(self._clock.now())
                return
            if kind == PLAIN:
                self._backoff.failed(self._clock.now())
            else:
                # One kind that cannot be had, as when its layer was removed, must not keep the others from theirs.
                self._used.pop(kind, None)
                self._expected.discard(kind)
            log.warning("no standby could be started: %s", error)
        finally:
            if instance is None:
                self._budget.give(standby_bytes(kind))
        if instance is not None:
            instance.on_exit = self._ended
            self._ready.setdefault(kind, []).append(instance)

    def _ended(self, instance: Instance, reason: Exit) -> None:
        """One that dies while it waits: something outside killed it."""
        instances = self._ready.get(instance.kind, [])
        if instance in instances:
            instances.remove(instance)
            self._budget.give(standby_bytes(instance.kind))
            self._backoff.failed(self._clock.now())
            log.warning("a standby ended: %s", reason.text)
            self.refill()
