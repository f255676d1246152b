"""The instances that serve a version: brought up within the memory budget, evicted for others, ended."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from clowdy.runtimes.api import Driver, Exit, Instance, Ready, StartFailed, StartReason
from clowdy.runtimes.budget import Budget, instance_bytes, standby_bytes
from clowdy.runtimes.clock import Clock
from clowdy.runtimes.fleet import Fleet, Slot, in_order_of_leaving
from clowdy.runtimes.parents import Nursery
from clowdy.runtimes.standby import Standbys
from clowdy.runtimes.starter import Starter, Want
from clowdy.runtimes.tasks import Tasks

log = logging.getLogger(__name__)

YOUNG_SECONDS = 10.0
"""An idle instance that dies younger than this counts as one that does not stay up."""


class Slots:
    """The instances of every fleet.

    `settled` is told of an instance of which a call that was over its time has ended at last, `gone` of a fleet that
    lost an instance, and whether that was ended on purpose.
    """

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
        settled: Callable[[Instance], None],
        gone: Callable[[Fleet, bool], None],
    ) -> None:
        self._budget = budget
        self._standbys = standbys
        self._nursery = nursery
        self._now = clock.now
        self._tasks = tasks
        self._settled = settled
        self._gone = gone
        self._closed = False
        self._starter = Starter(
            driver, budget, standbys, nursery, clock, tasks, start_seconds=start_seconds, evict=self._evict
        )
        self.by_id: dict[str, Slot] = {}

    def close(self) -> None:
        """From now on the driver ends them: nobody is told."""
        self._closed = True

    async def bring_up(self, fleet: Fleet, want: Want) -> Slot:
        """A new instance of the fleet's version, counted and watched, but without a call yet.

        Raises StartFailed, NoMemory or DriverUnavailable; then nothing of it is left.
        """
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
        return self._add(fleet, instance, ready, generation)

    def _add(self, fleet: Fleet, instance: Instance, ready: Ready, generation: int) -> Slot:
        now = self._now()
        slot = Slot(instance, fleet, ready, born=now, last_used=now, retired=generation != fleet.generation)
        instance.on_exit = self._ended
        instance.on_settled = self._settled
        self.by_id[instance.id] = slot
        fleet.slots.add(slot)
        return slot

    async def try_out(
        self, fleet: Fleet, want: Want, use: Callable[[Instance], Coroutine[Any, Any, None]]
    ) -> asyncio.Task[None]:
        """Runs `use` on an instance that serves nobody; returns its end, which follows. Raises as `bring_up` does."""
        instance, _ = await self._starter.bring_up(fleet, want, use)
        return self._starter.end(instance, instance_bytes(fleet.application))

    def end_soon(self, slot: Slot) -> asyncio.Task[None]:
        """Ends one instance; it takes no more calls from now on."""
        slot.ending = True
        slot.fleet.remove_free(slot)
        return self._tasks.spawn(self._end(slot))

    def end_idle(self, fleet: Fleet, idle_seconds: float) -> None:
        """Ends those that were idle for too long, as far as `min_warm` allows."""
        spare, now = fleet.spare, self._now()
        for slot in sorted(fleet.slots, key=lambda slot: slot.last_used):
            if spare > 0 and not (slot.leases or slot.ending) and now - slot.last_used >= idle_seconds:
                spare -= 1
                self.end_soon(slot)
        if fleet.slots and all(now - slot.born >= YOUNG_SECONDS for slot in fleet.slots):
            fleet.warm_backoff.worked()

    def expire_standbys(self) -> None:
        """Ends the standbys of kinds that nobody used for too long."""
        for standby in self._standbys.expire():
            self._starter.end(standby, standby_bytes(standby.kind))

    def count(self) -> dict[str, int]:
        """How many there are by version."""
        applications = (slot.fleet.application for slot in self.by_id.values())
        return dict(sorted(Counter(f"{one.project}/{one.function} v{one.version}" for one in applications).items()))

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
        for slot in in_order_of_leaving(self.by_id.values(), over_warm) if size > 0 else ():
            victims.append(self.end_soon(slot))
            size -= instance_bytes(slot.fleet.application)
            if size <= 0:
                break
        return victims

    async def _end(self, slot: Slot) -> None:
        try:
            await slot.instance.kill()
        finally:
            self._forget(slot)

    def _ended(self, instance: Instance, reason: Exit) -> None:
        """An instance is gone, whoever ended it."""
        slot = self.by_id.get(instance.id)
        if slot is None:
            return
        fleet = slot.fleet
        if not (self._closed or slot.ending or slot.leases or slot.fallen):
            log.info("an idle instance of %s ended: %s", fleet.application.function, reason.text)
            if self._now() - slot.born < YOUNG_SECONDS:
                fleet.warm_backoff.failed(self._now())
        self._forget(slot)

    def _forget(self, slot: Slot) -> None:
        if self.by_id.pop(slot.instance.id, None) is None:
            return
        asked_for = slot.ending
        slot.ending = True
        fleet = slot.fleet
        fleet.remove_free(slot)
        fleet.slots.discard(slot)
        self._budget.give(instance_bytes(fleet.application))
        if not self._closed:
            self._gone(fleet, asked_for)
