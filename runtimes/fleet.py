"""The instances of one function version, and the callers who wait for one of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from clowdy.runtimes.api import Application, DriverUnavailable, Instance, Ready, StartFailed
from clowdy.runtimes.backoff import Backoff
from clowdy.runtimes.clock import Timer

THROTTLE_SECONDS = 0.1
"""How long an instance counts as throttled, and how often it is asked: asking may cost a read of its cgroup."""

LOOK_AT = 4
"""How many free instances are looked at to find one that is not throttled."""


class Lease(NamedTuple):
    """An instance for one call; give it back with `Pool.release`. `cold` says that the caller waited for its start."""

    instance: Instance
    cold: bool


@dataclass(slots=True, eq=False)
class Slot:
    """One instance that serves a version: `leases` calls are out, `free` when it can take another.

    A `retired` one takes no new calls and ends with its last; an `ending` one is being killed; a `fallen` one ended in
    a call.
    """

    instance: Instance
    fleet: Fleet
    ready: Ready
    born: float
    last_used: float
    leases: int = 0
    free: bool = False
    retired: bool = False
    ending: bool = False
    fallen: bool = False
    asked: float = float("-inf")
    throttled: bool = False

    def held_back(self, now: float) -> bool:
        """Whether its cpu limit held it back lately."""
        if now - self.asked >= THROTTLE_SECONDS:
            self.asked = now
            self.throttled = self.instance.throttled
        return self.throttled


@dataclass(slots=True, eq=False)
class Waiter:
    """A caller who waits for an instance."""

    future: asyncio.Future[Lease]
    timer: Timer | None = None
    patient: bool = False


class Fleet:
    """All instances of one `Application.key`.

    `live`: the version serves now, so `min_warm` holds. `starting` counts starts under way, `short` those of them
    that wait for memory. A start of an earlier `generation` brings an instance that is retired already. `import_ms` is
    what its import took last, `forkable` False once that turned out to leave what a fork would share.
    """

    __slots__ = (
        "application",
        "error",
        "forkable",
        "free",
        "generation",
        "import_ms",
        "live",
        "short",
        "slots",
        "start_backoff",
        "starting",
        "starts",
        "waiters",
        "warm_backoff",
    )

    def __init__(self, application: Application) -> None:
        self.application = application
        self.slots: set[Slot] = set()
        self.free: list[Slot] = []
        self.waiters: deque[Waiter] = deque()
        self.starts: set[asyncio.Task[Slot]] = set()
        self.starting = 0
        self.short = 0
        self.live = False
        self.generation = 0
        self.import_ms = 0.0
        self.forkable = True
        self.error: StartFailed | DriverUnavailable | None = None
        self.start_backoff = Backoff()
        self.warm_backoff = Backoff()

    @property
    def size(self) -> int:
        """Instances that are there or on their way."""
        return len(self.slots) + self.starting

    @property
    def spare(self) -> int:
        """How many instances there are beyond `min_warm`."""
        return self.staying - (self.application.min_warm if self.live else 0)

    @property
    def staying(self) -> int:
        """How many instances there are that nobody ends."""
        return sum(not (slot.ending or slot.retired) for slot in self.slots)

    def take(self, now: float) -> Slot | None:
        """A lease of the most recently used free instance that its cpu limit did not hold back lately."""
        free = self.free
        while free:
            slot = free[-1]
            if not slot.instance.alive:
                free.pop()
                slot.free = False
                continue
            if len(free) > 1 and slot.held_back(now):
                slot = self._unthrottled(now) or slot
            slot.leases += 1
            if slot.leases >= self.application.parallel:
                self.remove_free(slot)
            return slot
        return None

    def _unthrottled(self, now: float) -> Slot | None:
        for slot in self.free[-2 : -1 - LOOK_AT : -1]:
            if slot.instance.alive and not slot.held_back(now):
                return slot
        return None

    def add_free(self, slot: Slot) -> None:
        """`slot` can take a call, and is the most recently used."""
        if not slot.free:
            slot.free = True
            self.free.append(slot)

    def remove_free(self, slot: Slot) -> None:
        """`slot` takes no more calls for now."""
        if slot.free:
            slot.free = False
            if self.free[-1] is slot:
                self.free.pop()
            else:
                self.free.remove(slot)

    def hand_over(self, slot: Slot, *, cold: bool) -> None:
        """Leases `slot` to those who wait, in the order in which they came."""
        while self.waiters and slot.leases < self.application.parallel:
            waiter = self.waiters.popleft()
            if not waiter.future.done():
                slot.leases += 1
                waiter.future.set_result(Lease(slot.instance, cold))

    def fail(self, count: int, error: Exception) -> None:
        """The first `count` of those who wait get `error`, each a copy of its own."""
        while count > 0 and self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.future.done():
                waiter.future.set_exception(again(error))
                count -= 1


def again(error: Exception) -> Exception:
    """A copy of `error` to raise: one exception raised by several tasks would mix up their tracebacks."""
    if isinstance(error, StartFailed):
        return StartFailed(error.reason, error.text, module=error.module, log=error.log)
    if isinstance(error, DriverUnavailable):
        return DriverUnavailable(str(error), passing=error.passing)
    return type(error)(*error.args)


def in_order_of_leaving(slots: Iterable[Slot], over_warm: bool) -> list[Slot]:
    """The idle ones, the least recently used first; those that `min_warm` keeps last, or not at all."""
    idle = sorted((slot for slot in slots if not (slot.leases or slot.ending)), key=lambda slot: slot.last_used)
    spare = {slot.fleet: slot.fleet.spare for slot in idle}
    first: list[Slot] = []
    last: list[Slot] = []
    for slot in idle:
        (first if spare[slot.fleet] > 0 else last).append(slot)
        spare[slot.fleet] -= 1
    return first + last if over_warm else first
