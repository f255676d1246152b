"""The instances of every function under one memory budget: what serves, what a push tries, what time ends.

Which instance answers a call is a matter of `leases`, what there is one of `slots`. The same for every driver.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from clowdy.runtimes.api import (
    Application,
    Driver,
    DriverUnavailable,
    Handler,
    Ready,
    StartFailed,
    kind_of,
)
from clowdy.runtimes.budget import Budget, instance_bytes
from clowdy.runtimes.clock import Clock, LoopClock, Timer, sleep
from clowdy.runtimes.fleet import Fleet, Lease, again
from clowdy.runtimes.leases import Leases
from clowdy.runtimes.parents import Nursery
from clowdy.runtimes.refusals import Busy, NoMemory, NotServed, Withdrawn
from clowdy.runtimes.slots import Slots
from clowdy.runtimes.standby import Standbys
from clowdy.runtimes.starter import Want
from clowdy.runtimes.tasks import Tasks
from clowdy.schema.units import MEBIBYTE

__all__ = ["Busy", "Lease", "NoMemory", "NotServed", "Pool", "Withdrawn"]

log = logging.getLogger(__name__)

START_SECONDS = 10.0
"""What a cold start may take."""

TRIAL_SECONDS = 30.0
"""What a start may take in a push."""

TRIALS_AT_ONCE = 4
TICK_SECONDS = 5.0

RETRY_FIRST_SECONDS = 1.0
RETRY_MOST_SECONDS = 15.0
"""How long a driver that cannot run yet is left alone: at first, and at most."""


class Pool:
    """Leases, trials and what serves. `lease`, `release` and `acquire` are those of `Leases`.

    `unavailable` says why nothing can run; where that passes, `on_available` is awaited once everything can.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        budget_bytes: int,
        standbys: int = 1,
        idle_seconds: float = 300.0,
        wait_seconds: float = 10.0,
        waiters: int = 100,
        start_seconds: float = START_SECONDS,
        clock: Clock | None = None,
        on_available: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.driver = driver
        self.unavailable: DriverUnavailable | None = None
        self._on_available = on_available
        self._clock = clock or LoopClock()
        self._now = self._clock.now
        self._idle_seconds = idle_seconds
        self._wait_seconds = wait_seconds
        self._start_seconds = start_seconds
        self._tasks = Tasks()
        self._budget = Budget(budget_bytes)
        shared = self._budget, self._clock, self._tasks
        self._standbys = Standbys(driver, *shared, plain=standbys, calm=self._is_calm)
        self._nursery = Nursery(
            driver, *shared, idle_seconds=idle_seconds, start_seconds=start_seconds, calm=self._is_calm
        )
        self._slots = Slots(
            driver,
            self._budget,
            self._standbys,
            self._nursery,
            self._clock,
            self._tasks,
            start_seconds=start_seconds,
            settled=lambda instance: self._leases.settled(instance),
            gone=self._lost,
        )
        self._leases = Leases(
            self._slots,
            self._budget,
            self._standbys,
            self._nursery,
            self._clock,
            self._tasks,
            refuse=self._refuse,
            wait_seconds=wait_seconds,
            waiters=waiters,
            start_seconds=start_seconds,
        )
        # Not by a call through another: each call of a function passes here twice.
        self.lease = self._leases.lease
        self.release = self._leases.release
        self.acquire = self._leases.acquire
        self._trial_gate = asyncio.Semaphore(TRIALS_AT_ONCE)
        self._tick: Timer | None = None
        self._closed = False

    async def open(self) -> None:
        """Opens the driver and begins to keep standbys. A driver that cannot run is `unavailable`, not an error.

        One that may run later is opened again and again until it can.
        """
        await self._open_driver()
        if self.unavailable is not None and self.unavailable.passing:
            self._tasks.spawn(self._open_later())

    async def _open_driver(self) -> None:
        try:
            await self.driver.open()
        except DriverUnavailable as error:
            self.unavailable = error
            await self.driver.close()
            return
        self.unavailable = None
        self._standbys.open()
        for fleet in self._leases.fleets.values():
            self._keep_warm(fleet)
        self._next_tick()

    async def _open_later(self) -> None:
        pause = RETRY_FIRST_SECONDS
        while self.unavailable is not None and self.unavailable.passing:
            await sleep(self._clock, pause)
            pause = min(2 * pause, RETRY_MOST_SECONDS)
            try:
                await self._open_driver()
            except Exception:
                # It would be the end of all tries, and an engine that is half up may fail in ways that nobody knows.
                log.exception("the driver could not be opened")
                await self.driver.close()
        if self.unavailable is not None:
            log.warning("functions cannot run: %s", self.unavailable)
        elif self._on_available is not None:
            await self._on_available()

    async def close(self) -> None:
        """Ends every instance; who waits gets Withdrawn."""
        self._closed = True
        if self._tick is not None:
            self._tick.cancel()
        self._leases.close()
        self._slots.close()
        self._standbys.close()
        self._nursery.close()
        await self._tasks.close()
        await self.driver.close()

    def _is_calm(self) -> bool:
        return self._leases.starts == 0

    def _refuse(self, application: Application) -> None:
        """Raises at once what waiting would not change."""
        if self._closed:
            raise Withdrawn("the server is stopping")
        if self.unavailable is not None:
            raise again(self.unavailable)
        if instance_bytes(application) > self._budget.limit:
            budget = self._budget.limit // MEBIBYTE
            raise NoMemory(f"{application.function} needs more memory than all functions together ({budget} MB)")

    def _lost(self, fleet: Fleet, asked_for: bool) -> None:
        """A version has an instance less."""
        self._leases.grow(fleet)
        if not asked_for:
            # One that was ended to make room would take that room again: it comes back with the next tick.
            self._keep_warm(fleet)

    # What serves.

    def keep_project(self, project_id: str, applications: Iterable[Application]) -> None:
        """`applications` are what serves in the project from now on: their `min_warm` holds, and no other's.

        A standby is made ready for each kind of them, also where none was called yet.
        Instances of versions that no longer serve stay until they are reaped or make room: going back finds them.
        """
        live = {application.key: application for application in applications}
        for key, fleet in self._leases.fleets.items():
            if fleet.application.project_id == project_id:
                fleet.live = key in live
        for key, application in live.items():
            self._standbys.expect(kind_of(application))
            if application.min_warm or key in self._leases.fleets:
                fleet = self._leases.fleet(application)
                fleet.application = application
                fleet.live = True
                self._keep_warm(fleet)
                self._nursery.want(fleet)

    async def retire(self, keys: Iterable[str]) -> int:
        """Ends the present instances of these versions, idle ones now, others after their calls; says how many.

        Returns when the idle ones are gone. The versions stay: the next call starts a new instance.
        """
        retired = 0
        ends = []
        wanted = tuple(keys)
        for key in wanted:
            self._nursery.retire(key)
        for fleet in [self._leases.fleets[key] for key in wanted if key in self._leases.fleets]:
            fleet.generation += 1
            for slot in [slot for slot in fleet.slots if not (slot.ending or slot.retired)]:
                retired += 1
                slot.retired = True
                fleet.remove_free(slot)
                if slot.leases == 0:
                    ends.append(self._slots.end_soon(slot))
            self._keep_warm(fleet)
        if ends:
            await asyncio.wait(ends)
        return retired

    async def end_project(self, project_id: str) -> None:
        """Ends every instance of a project at once, running calls included, and returns when they are gone."""
        ends = []
        for fleet in [fleet for fleet in self._leases.fleets.values() if fleet.application.project_id == project_id]:
            fleet.live = False
            fleet.generation += 1
            fleet.fail(len(fleet.waiters), Withdrawn("the project was deleted"))
            for start in fleet.starts:
                start.cancel()
            ends += [self._slots.end_soon(slot) for slot in fleet.slots if not slot.ending]
        ends += self._nursery.end_project(project_id)
        if ends:
            await asyncio.wait(ends)

    def _keep_warm(self, fleet: Fleet) -> None:
        """Starts what is missing of `min_warm`; not again at once when it does not stay up."""
        application = fleet.application
        now = self._now()
        if not fleet.live or self._closed or self.unavailable is not None or self._budget.awaited:
            return
        if fleet.warm_backoff.blocked(now) or fleet.start_backoff.blocked(now):
            return
        while fleet.staying + fleet.starting < min(application.min_warm, application.concurrency):
            self._leases.start(fleet, Want(self._start_seconds, lambda: False, over_warm=False))

    # Trials.

    async def start_first(self, application: Application, seconds: float = TRIAL_SECONDS) -> Ready:
        """A trial: starts an instance, which stays as the version's first warm one. Raises as `acquire` does."""
        self._refuse(application)
        async with self._trial_gate:
            fleet = self._leases.fleet(application)
            for slot in fleet.slots:
                if not (slot.ending or slot.retired) and slot.instance.alive:
                    return slot.ready
            with self._leases.trying(fleet):
                slot = await self._slots.bring_up(fleet, Want(seconds, self._patience()))
                self._leases.join(fleet, slot, cold=False)
            return slot.ready

    async def probe(
        self,
        application: Application,
        handlers: Sequence[Handler],
        tell: Callable[[Ready | StartFailed], None],
        seconds: float = TRIAL_SECONDS,
    ) -> None:
        """A trial of several handlers that share everything else, in one instance that ends with it.

        `tell` gets one result for each, in their order, as it comes; `seconds` is what each may take. Those after one
        that ended the instance are tried in another. Raises NoMemory, Withdrawn or DriverUnavailable.
        """
        self._refuse(application)
        fleet = Fleet(application)
        rest = deque(handlers)

        def told(result: Ready | StartFailed) -> None:
            if rest:
                rest.popleft()
                tell(result)

        async with self._trial_gate:
            while rest:
                await self._probe(fleet, tuple(rest), told, seconds)

    async def _probe(
        self, fleet: Fleet, handlers: Sequence[Handler], tell: Callable[[Ready | StartFailed], None], seconds: float
    ) -> None:
        """Tries as many of `handlers` as one instance bears, and at least one."""
        application = fleet.application
        want = Want(seconds * len(handlers), self._patience())
        with self._leases.trying(fleet):
            try:
                ended = await self._slots.try_out(
                    fleet, want, lambda instance: instance.probe(application, handlers, seconds, tell)
                )
            except StartFailed as error:
                tell(error)
                return
        await asyncio.shield(ended)

    def _patience(self) -> Callable[[], bool]:
        """True until the time for waiting is over."""
        end = self._now() + self._wait_seconds
        self._clock.call_later(self._wait_seconds, self._budget.changed)
        return lambda: self._now() < end

    # Time.

    def _next_tick(self) -> None:
        def tick() -> None:
            self._next_tick()
            self.reap()

        self._tick = self._clock.call_later(TICK_SECONDS, tick)

    def reap(self) -> None:
        """Ends what was idle for too long, keeps `min_warm` and standbys up, forgets what is over."""
        now = self._now()
        self._slots.expire_standbys()
        for key, fleet in tuple(self._leases.fleets.items()):
            self._slots.end_idle(fleet, self._idle_seconds)
            self._keep_warm(fleet)
            wanted = fleet.size or fleet.waiters or (fleet.live and fleet.application.min_warm)
            if not wanted and fleet.start_backoff.forgotten(now, self._idle_seconds):
                del self._leases.fleets[key]
        self._nursery.reap(self._is_there)
        self._standbys.refill()

    def _is_there(self, key: str) -> bool:
        """Whether a version has an instance."""
        fleet = self._leases.fleets.get(key)
        return fleet is not None and fleet.size > 0

    def stats(self) -> dict[str, Any]:
        """What the pages and the API show: instances in all and by version, standbys, parents, memory in bytes.

        `max` is how many instances of the default size the budget has room for.
        """
        return {
            "total": len(self._slots.by_id),
            "max": self._budget.limit // (128 * MEBIBYTE),
            "by_key": self._slots.count(),
            "standbys": self._standbys.count,
            "parents": self._nursery.count,
            "budget": self._budget.limit,
            "used": self._budget.used,
        }
