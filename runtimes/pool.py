"""Which instance answers a call: lease, start, wait, evict, reap. The same for every driver.

A warm call is two calls of plain functions, `lease` and `release`: no task, no lock, no await. Everything else
happens when no instance is free. Starts belong to the version, not to the caller who caused them: a caller who
leaves leaves a warm instance behind, and each end of a start gives a result to those who wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from clowdy.runtimes.api import (
    Application,
    Driver,
    DriverUnavailable,
    Exit,
    Handler,
    Instance,
    Ready,
    StartFailed,
    StartReason,
    kind_of,
)
from clowdy.runtimes.budget import Budget, instance_bytes, standby_bytes
from clowdy.runtimes.clock import Clock, LoopClock, Timer
from clowdy.runtimes.fleet import Fleet, Lease, Slot, Waiter, again, in_order_of_leaving
from clowdy.runtimes.parents import Nursery
from clowdy.runtimes.refusals import Busy, NoMemory, NotServed, Withdrawn
from clowdy.runtimes.standby import Standbys
from clowdy.runtimes.starter import Starter, Want
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

YOUNG_SECONDS = 10.0
"""An idle instance that dies younger than this counts as one that does not stay up."""


class Pool:
    """The instances of every function, under one memory budget."""

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
    ) -> None:
        self.driver = driver
        self.unavailable: DriverUnavailable | None = None
        self._clock = clock or LoopClock()
        self._now = self._clock.now
        self._idle_seconds = idle_seconds
        self._wait_seconds = wait_seconds
        self._waiters = waiters
        self._start_seconds = start_seconds
        self._tasks = Tasks()
        self._budget = Budget(budget_bytes)
        self._standbys = Standbys(
            driver, self._budget, self._clock, self._tasks, plain=standbys, calm=lambda: self._starts == 0
        )
        self._fleets: dict[str, Fleet] = {}
        self._slots: dict[str, Slot] = {}
        self._starts = 0
        self._nursery = Nursery(
            driver,
            self._budget,
            self._clock,
            self._tasks,
            idle_seconds=idle_seconds,
            start_seconds=start_seconds,
            calm=lambda: self._starts == 0,
        )
        self._starter = Starter(
            driver,
            self._budget,
            self._standbys,
            self._nursery,
            self._clock,
            self._tasks,
            start_seconds=start_seconds,
            evict=self._evict,
        )
        self._trial_gate = asyncio.Semaphore(TRIALS_AT_ONCE)
        self._tick: Timer | None = None
        self._closed = False

    async def open(self) -> None:
        """Opens the driver and begins to keep standbys. A driver that cannot run is `unavailable`, not an error."""
        try:
            await self.driver.open()
        except DriverUnavailable as error:
            self.unavailable = error
            return
        self._standbys.open()
        self._next_tick()

    async def close(self) -> None:
        """Ends every instance; who waits gets Withdrawn."""
        self._closed = True
        if self._tick is not None:
            self._tick.cancel()
        for fleet in tuple(self._fleets.values()):
            fleet.fail(len(fleet.waiters), Withdrawn("the server is stopping"))
        self._standbys.close()
        self._nursery.close()
        await self._tasks.close()
        await self.driver.close()

    # The warm path.

    def lease(self, application: Application) -> Instance | None:
        """An instance for one call, at once, or None: then `acquire` waits for one. Give it back with `release`."""
        fleet = self._fleets.get(application.key)
        if fleet is None:
            return None
        slot = fleet.take(self._now())
        return None if slot is None else slot.instance

    def release(self, instance: Instance) -> None:
        """The call is over. Harmless for an instance that is gone."""
        slot = self._slots.get(instance.id)
        if slot is None:
            return
        slot.leases -= 1
        slot.last_used = self._now()
        if slot.ending or not instance.alive:
            slot.fallen = True
            return
        if slot.retired:
            if slot.leases == 0:
                self._end_soon(slot)
            return
        self._offer(slot)
        if slot.leases == 0 and self._budget.awaited:
            self._budget.changed()

    def _offer(self, slot: Slot) -> None:
        """Gives `slot` to those who wait, and to those who come, as far as it can take more calls."""
        fleet = slot.fleet
        if slot.instance.late:
            # It may end with the call that does not: what it was lent then would fail for no reason of its own.
            fleet.remove_free(slot)
            return
        if fleet.waiters:
            fleet.hand_over(slot, cold=False)
        if slot.leases < fleet.application.parallel:
            fleet.add_free(slot)

    def _settled(self, instance: Instance) -> None:
        """A call that was over its time has ended at last."""
        slot = self._slots.get(instance.id)
        if slot is not None and instance.alive and not (slot.ending or slot.retired):
            self._offer(slot)

    # The cold path.

    async def acquire(self, application: Application) -> Lease:
        """An instance for one call, started or waited for if need be.

        Raises Busy, NoMemory, StartFailed, DriverUnavailable or Withdrawn, at the latest when the time for waiting
        and that of a start are over. Cancelling it loses nothing.
        """
        if (instance := self.lease(application)) is not None:
            return Lease(instance, cold=False)
        self._refuse(application)
        fleet = self._fleet(application)
        if fleet.error is not None and not fleet.size and fleet.start_backoff.blocked(self._now()):
            raise again(fleet.error)
        if len(fleet.waiters) >= self._waiters:
            raise Busy(f"{len(fleet.waiters)} callers wait for {application.function} already")
        waiter = Waiter(asyncio.get_running_loop().create_future())
        waiter.timer = self._clock.call_later(self._wait_seconds, partial(self._waited, fleet, waiter))
        fleet.waiters.append(waiter)
        self._grow(fleet)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                self.release(waiter.future.result().instance)
            raise
        finally:
            self._leave(fleet, waiter)

    def _leave(self, fleet: Fleet, waiter: Waiter) -> None:
        if waiter.timer is not None:
            waiter.timer.cancel()
        if waiter in fleet.waiters:
            fleet.waiters.remove(waiter)
            # A start that waits for memory on behalf of nobody gives up.
            self._budget.changed()

    def _refuse(self, application: Application) -> None:
        """Raises at once what waiting would not change."""
        if self._closed:
            raise Withdrawn("the server is stopping")
        if self.unavailable is not None:
            raise again(self.unavailable)
        if instance_bytes(application) > self._budget.limit:
            budget = self._budget.limit // MEBIBYTE
            raise NoMemory(f"{application.function} needs more memory than all functions together ({budget} MB)")

    def _fleet(self, application: Application) -> Fleet:
        fleet = self._fleets.get(application.key)
        if fleet is None:
            fleet = self._fleets[application.key] = Fleet(application)
        return fleet

    def _waited(self, fleet: Fleet, waiter: Waiter) -> None:
        """The caller's time is over. One whose instance is just starting is given the time of a start besides."""
        if waiter.future.done():
            return
        loading = (fleet.starting - fleet.short) * fleet.application.parallel
        if not waiter.patient and fleet.waiters.index(waiter) < loading:
            waiter.patient = True
            waiter.timer = self._clock.call_later(2 * self._start_seconds, partial(self._waited, fleet, waiter))
            return
        function = fleet.application.function
        if fleet.short:
            error: Exception = NoMemory(f"no memory for another instance of {function}")
        elif fleet.slots:
            error = Busy(f"all instances of {function} are busy")
        else:
            error = fleet.error or StartFailed(StartReason.TIMEOUT, f"{function} did not start in time")
        waiter.future.set_exception(again(error))
        self._leave(fleet, waiter)

    def _grow(self, fleet: Fleet) -> None:
        """Starts as many instances as callers need and `concurrency` allows."""
        application = fleet.application
        while len(fleet.waiters) > fleet.starting * application.parallel and fleet.size < application.concurrency:
            self._start(fleet, Want(self._start_seconds, lambda: bool(fleet.waiters)))

    def _start(self, fleet: Fleet, want: Want) -> None:
        fleet.starting += 1
        self._starts += 1
        task = self._tasks.spawn(self._bring_up(fleet, want), (StartFailed, DriverUnavailable, NoMemory))
        fleet.starts.add(task)
        task.add_done_callback(partial(self._started, fleet))

    def _started(self, fleet: Fleet, task: asyncio.Task[Slot]) -> None:
        """However a start ends: what it was for is told."""
        fleet.starts.discard(task)
        fleet.starting -= 1
        self._starts -= 1
        if self._closed:
            return
        if not task.cancelled():
            error = task.exception()
            if error is None:
                self._join(fleet, task.result(), cold=True)
            elif not isinstance(error, NoMemory):
                self._not_started(fleet, error)
        self._grow_for_late_callers(fleet, task)
        self._standbys.refill()
        self._nursery.advance()

    def _grow_for_late_callers(self, fleet: Fleet, task: asyncio.Task[Slot]) -> None:
        """Callers who came while a start was given up, and counted on it, get one of their own."""
        if task.cancelled() or isinstance(task.exception(), NoMemory):
            self._grow(fleet)

    def _join(self, fleet: Fleet, slot: Slot, *, cold: bool) -> None:
        """A new instance takes its first calls."""
        fleet.start_backoff.worked()
        fleet.error = None
        fleet.hand_over(slot, cold=cold)
        if slot.retired:
            if slot.leases == 0:
                self._end_soon(slot)
        elif slot.leases < fleet.application.parallel:
            fleet.add_free(slot)
        if cold:
            self._nursery.want(fleet)

    def _not_started(self, fleet: Fleet, error: BaseException) -> None:
        """The callers for whom a start failed are told, unless there is an instance left that can serve them."""
        if not isinstance(error, StartFailed | DriverUnavailable):
            error = StartFailed(StartReason.RUNTIME, f"the runtime failed: {error!r}")
        fleet.error = error
        fleet.start_backoff.failed(self._now())
        if not fleet.slots:
            fleet.fail(fleet.application.parallel if fleet.starting else len(fleet.waiters), error)

    async def _bring_up(self, fleet: Fleet, want: Want) -> Slot:
        """A new instance of the fleet's version, counted and watched, but without a call yet."""
        generation = fleet.generation
        forked = await self._starter.fork(fleet, want)
        if forked is not None:
            instance, ready = forked
        else:
            instance, ready = await self._starter.bring_up(
                fleet, want, lambda instance: instance.take(fleet.application, want.seconds)
            )
            fleet.import_ms = ready.import_ms
        if not instance.alive:
            self._starter.end(instance, instance_bytes(fleet.application))
            raise StartFailed(StartReason.CRASHED, "the instance ended as soon as it had started", log=ready.log)
        now = self._now()
        slot = Slot(instance, fleet, ready, born=now, last_used=now, retired=generation != fleet.generation)
        instance.on_exit = self._ended
        instance.on_settled = self._settled
        self._slots[instance.id] = slot
        fleet.slots.add(slot)
        return slot

    # Memory.

    def _evict(self, size: int, over_warm: bool) -> list[asyncio.Task[None]]:
        """Ends what may go for `size` bytes, as far as that reaches: standbys, parents that no instance needs, then
        idle instances.

        Of those the least recently used first, and what `min_warm` keeps last.
        """
        victims = []
        for standby in self._standbys.evict(size):
            victims.append(self._starter.end(standby, standby_bytes(standby.kind)))
            size -= standby_bytes(standby.kind)
        if size > 0 and (arriving := self._standbys.arriving) is not None:
            # It is counted already and goes before any instance, as soon as it is there to be ended.
            victims.append(arriving)
            size -= self._standbys.arriving_bytes
        for end, given_back in self._nursery.evict(size):
            victims.append(end)
            size -= given_back
        for slot in in_order_of_leaving(self._slots.values(), over_warm) if size > 0 else ():
            victims.append(self._end_soon(slot))
            size -= instance_bytes(slot.fleet.application)
            if size <= 0:
                break
        return victims

    # Ends.

    def _end_soon(self, slot: Slot) -> asyncio.Task[None]:
        """Ends one instance; it takes no more calls from now on."""
        slot.ending = True
        slot.fleet.remove_free(slot)
        return self._tasks.spawn(self._end_slot(slot))

    async def _end_slot(self, slot: Slot) -> None:
        try:
            await slot.instance.kill()
        finally:
            self._forget(slot)

    def _ended(self, instance: Instance, reason: Exit) -> None:
        """An instance is gone, whoever ended it."""
        slot = self._slots.get(instance.id)
        if slot is None:
            return
        fleet = slot.fleet
        if not (self._closed or slot.ending or slot.leases or slot.fallen):
            log.info("an idle instance of %s ended: %s", fleet.application.function, reason.text)
            if self._now() - slot.born < YOUNG_SECONDS:
                fleet.warm_backoff.failed(self._now())
        self._forget(slot)

    def _forget(self, slot: Slot) -> None:
        if self._slots.pop(slot.instance.id, None) is None:
            return
        asked_for = slot.ending
        slot.ending = True
        fleet = slot.fleet
        fleet.remove_free(slot)
        fleet.slots.discard(slot)
        self._budget.give(instance_bytes(fleet.application))
        if self._closed:
            return
        self._grow(fleet)
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
        for key, fleet in self._fleets.items():
            if fleet.application.project_id == project_id:
                fleet.live = key in live
        for key, application in live.items():
            self._standbys.expect(kind_of(application))
            if application.min_warm or key in self._fleets:
                fleet = self._fleet(application)
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
        for fleet in [self._fleets[key] for key in wanted if key in self._fleets]:
            fleet.generation += 1
            for slot in [slot for slot in fleet.slots if not (slot.ending or slot.retired)]:
                retired += 1
                slot.retired = True
                fleet.remove_free(slot)
                if slot.leases == 0:
                    ends.append(self._end_soon(slot))
            self._keep_warm(fleet)
        if ends:
            await asyncio.wait(ends)
        return retired

    async def end_project(self, project_id: str) -> None:
        """Ends every instance of a project at once, running calls included, and returns when they are gone."""
        ends = []
        for fleet in [fleet for fleet in self._fleets.values() if fleet.application.project_id == project_id]:
            fleet.live = False
            fleet.generation += 1
            fleet.fail(len(fleet.waiters), Withdrawn("the project was deleted"))
            for start in fleet.starts:
                start.cancel()
            ends += [self._end_soon(slot) for slot in fleet.slots if not slot.ending]
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
            self._start(fleet, Want(self._start_seconds, lambda: False, over_warm=False))

    # Trials.

    async def start_first(self, application: Application, seconds: float = TRIAL_SECONDS) -> Ready:
        """A trial: starts an instance, which stays as the version's first warm one. Raises as `acquire` does."""
        self._refuse(application)
        async with self._trial_gate:
            fleet = self._fleet(application)
            for slot in fleet.slots:
                if not (slot.ending or slot.retired) and slot.instance.alive:
                    return slot.ready
            with self._trying(fleet):
                slot = await self._bring_up(fleet, Want(seconds, self._patience()))
                self._join(fleet, slot, cold=False)
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
        with self._trying(fleet):
            try:
                instance, _ = await self._starter.bring_up(
                    fleet, want, lambda instance: instance.probe(application, handlers, seconds, tell)
                )
            except StartFailed as error:
                tell(error)
                return
        await asyncio.shield(self._starter.end(instance, instance_bytes(application)))

    @contextlib.contextmanager
    def _trying(self, fleet: Fleet) -> Iterator[None]:
        """A push waits for a start of `fleet`, which callers may count on as well."""
        fleet.starting += 1
        self._starts += 1
        try:
            yield
        finally:
            fleet.starting -= 1
            self._starts -= 1
            if not self._closed:
                self._grow(fleet)
                self._standbys.refill()

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
        for standby in self._standbys.expire():
            self._starter.end(standby, standby_bytes(standby.kind))
        for key, fleet in tuple(self._fleets.items()):
            spare = fleet.spare
            for slot in sorted(fleet.slots, key=lambda slot: slot.last_used):
                if spare > 0 and not (slot.leases or slot.ending) and now - slot.last_used >= self._idle_seconds:
                    spare -= 1
                    self._end_soon(slot)
            if fleet.slots and all(now - slot.born >= YOUNG_SECONDS for slot in fleet.slots):
                fleet.warm_backoff.worked()
            self._keep_warm(fleet)
            wanted = fleet.size or fleet.waiters or (fleet.live and fleet.application.min_warm)
            if not wanted and fleet.start_backoff.forgotten(now, self._idle_seconds):
                del self._fleets[key]
        self._nursery.reap(self._is_there)
        self._standbys.refill()

    def _is_there(self, key: str) -> bool:
        """Whether a version has an instance."""
        fleet = self._fleets.get(key)
        return fleet is not None and fleet.size > 0

    def stats(self) -> dict[str, Any]:
        """What the pages and the API show: instances in all and by version, standbys, parents, memory in bytes.

        `max` is how many instances of the default size the budget has room for.
        """
        by_key = Counter(
            f"{slot.fleet.application.project}/{slot.fleet.application.function} v{slot.fleet.application.version}"
            for slot in self._slots.values()
        )
        return {
            "total": len(self._slots),
            "max": self._budget.limit // (128 * MEBIBYTE),
            "by_key": dict(sorted(by_key.items())),
            "standbys": self._standbys.count,
            "parents": self._nursery.count,
            "budget": self._budget.limit,
            "used": self._budget.used,
        }
