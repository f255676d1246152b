"""Which instance answers a call: lease, start, wait.

A warm call is two calls of plain functions, `lease` and `release`: no task, no lock, no await. Everything else
happens when no instance is free. Starts belong to the version, not to the caller who caused them: a caller who
leaves leaves a warm instance behind, and each end of a start gives a result to those who wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from functools import partial

from clowdy.runtimes.api import Application, DriverUnavailable, Instance, StartFailed, StartReason
from clowdy.runtimes.budget import Budget
from clowdy.runtimes.clock import Clock
from clowdy.runtimes.fleet import Fleet, Lease, Slot, Waiter, again
from clowdy.runtimes.parents import Nursery
from clowdy.runtimes.refusals import Busy, NoMemory, Withdrawn
from clowdy.runtimes.slots import Slots
from clowdy.runtimes.standby import Standbys
from clowdy.runtimes.starter import Want
from clowdy.runtimes.tasks import Tasks


class Leases:
    """The fleets of every version, and the callers who wait for one of their instances.

    `refuse` raises at once what waiting would not change; `starts` counts the starts under way.
    """

    def __init__(
        self,
        slots: Slots,
        budget: Budget,
        standbys: Standbys,
        nursery: Nursery,
        clock: Clock,
        tasks: Tasks,
        *,
        refuse: Callable[[Application], None],
        wait_seconds: float,
        waiters: int,
        start_seconds: float,
    ) -> None:
        self._slots = slots
        self._by_id = slots.by_id
        self._budget = budget
        self._standbys = standbys
        self._nursery = nursery
        self._clock = clock
        self._now = clock.now
        self._tasks = tasks
        self._refuse = refuse
        self._wait_seconds = wait_seconds
        self._waiters = waiters
        self._start_seconds = start_seconds
        self._closed = False
        self.fleets: dict[str, Fleet] = {}
        self.starts = 0

    def close(self) -> None:
        """Starts no more; who waits gets Withdrawn."""
        self._closed = True
        for fleet in tuple(self.fleets.values()):
            fleet.fail(len(fleet.waiters), Withdrawn("the server is stopping"))

    def fleet(self, application: Application) -> Fleet:
        """The fleet of a version, made when it is the first time."""
        fleet = self.fleets.get(application.key)
        if fleet is None:
            fleet = self.fleets[application.key] = Fleet(application)
        return fleet

    # The warm path.

    def lease(self, application: Application) -> Instance | None:
        """An instance for one call, at once, or None: then `acquire` waits for one. Give it back with `release`."""
        fleet = self.fleets.get(application.key)
        if fleet is None:
            return None
        slot = fleet.take(self._now())
        return None if slot is None else slot.instance

    def release(self, instance: Instance) -> None:
        """The call is over. Harmless for an instance that is gone."""
        slot = self._by_id.get(instance.id)
        if slot is None:
            return
        slot.leases -= 1
        slot.last_used = self._now()
        if slot.ending or not instance.alive:
            slot.fallen = True
            return
        if slot.retired:
            if slot.leases == 0:
                self._slots.end_soon(slot)
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

    def settled(self, instance: Instance) -> None:
        """A call that was over its time has ended at last."""
        slot = self._by_id.get(instance.id)
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
        fleet = self.fleet(application)
        if fleet.error is not None and not fleet.size and fleet.start_backoff.blocked(self._now()):
            raise again(fleet.error)
        if len(fleet.waiters) >= self._waiters:
            raise Busy(f"{len(fleet.waiters)} callers wait for {application.function} already")
        waiter = Waiter(asyncio.get_running_loop().create_future())
        waiter.timer = self._clock.call_later(self._wait_seconds, partial(self._waited, fleet, waiter))
        fleet.waiters.append(waiter)
        self.grow(fleet)
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

    # Starts.

    def grow(self, fleet: Fleet) -> None:
        """Starts as many instances as callers need and `concurrency` allows."""
        application = fleet.application
        while len(fleet.waiters) > fleet.starting * application.parallel and fleet.size < application.concurrency:
            self.start(fleet, Want(self._start_seconds, lambda: bool(fleet.waiters)))

    def start(self, fleet: Fleet, want: Want) -> None:
        """Starts one more instance, whoever it will serve."""
        fleet.starting += 1
        self.starts += 1
        task = self._tasks.spawn(self._slots.bring_up(fleet, want), (StartFailed, DriverUnavailable, NoMemory))
        fleet.starts.add(task)
        task.add_done_callback(partial(self._started, fleet))

    def _started(self, fleet: Fleet, task: asyncio.Task[Slot]) -> None:
        """However a start ends: what it was for is told."""
        fleet.starts.discard(task)
        fleet.starting -= 1
        self.starts -= 1
        if self._closed:
            return
        if not task.cancelled():
            error = task.exception()
            if error is None:
                self.join(fleet, task.result(), cold=True)
            elif not isinstance(error, NoMemory):
                self._not_started(fleet, error)
        self._grow_for_late_callers(fleet, task)
        self._standbys.refill()
        self._nursery.advance()

    def _grow_for_late_callers(self, fleet: Fleet, task: asyncio.Task[Slot]) -> None:
        """Callers who came while a start was given up, and counted on it, get one of their own."""
        if task.cancelled() or isinstance(task.exception(), NoMemory):
            self.grow(fleet)

    def join(self, fleet: Fleet, slot: Slot, *, cold: bool) -> None:
        """A new instance takes its first calls."""
        fleet.start_backoff.worked()
        fleet.error = None
        fleet.hand_over(slot, cold=cold)
        if slot.retired:
            if slot.leases == 0:
                self._slots.end_soon(slot)
        elif slot.leases < fleet.application.parallel:
            fleet.add_free(slot)
        if cold:
            self._nursery.want(fleet)

    def _not_started(self, fleet: Fleet, error: BaseException) -> None:
        """The callers for whom a start failed are told, unless there is an instance left that can serve them."""
        if not isinstance(error, StartFailed | DriverUnavailable):
            error = StartFailed(StartReason.RUNTIME, f"the runtime failed: {error!r}")
        fleet.error = error
        if not (isinstance(error, DriverUnavailable) and error.passing):
            # What may pass at any moment is asked again by the next caller.
            fleet.start_backoff.failed(self._now())
        if not fleet.slots:
            fleet.fail(fleet.application.parallel if fleet.starting else len(fleet.waiters), error)

    @contextlib.contextmanager
    def trying(self, fleet: Fleet) -> Iterator[None]:
        """A push waits for a start of `fleet`, which callers may count on as well."""
        fleet.starting += 1
        self.starts += 1
        try:
            yield
        finally:
            fleet.starting -= 1
            self.starts -= 1
            if not self._closed:
                self.grow(fleet)
                self._standbys.refill()
