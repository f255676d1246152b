"""One instance as its control group holds it: short of memory, held back, killed to the last process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from clowdy.runtimes.sandbox.cgroups import Group

_THROTTLED_KEPT_SECONDS = 0.05
_AGAIN_SECONDS = (0.002, 0.02, 0.2)


class Confined:
    """The processes in one group."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._throttled_count = 0
        self._throttled_at = 0.0

    def limit(self, memory_bytes: int, cpu: float) -> None:
        """Sets what they may use; blocks for microseconds."""
        self._group.limit(memory_bytes, cpu)

    def watch(self, on_short: Callable[[], None]) -> None:
        """Begins to call `on_short` on the event loop whenever memory may have run out."""
        loop = asyncio.get_running_loop()

        def short() -> None:
            on_short()
            # The first version tells before the kill: the count rises a moment later.
            for seconds in _AGAIN_SECONDS:
                loop.call_later(seconds, on_short)

        self._group.watch(short)

    def out_of_memory(self) -> bool:
        """Whether one of them was killed because memory ran out."""
        return self._group.oom_kills() > 0

    @property
    def throttled(self) -> bool:
        """Whether the cpu limit held them back since this was asked last."""
        now = time.monotonic()
        if now - self._throttled_at < _THROTTLED_KEPT_SECONDS:
            return False
        self._throttled_at = now
        count = self._group.throttled()
        before, self._throttled_count = self._throttled_count, count
        return count > before

    async def kill(self) -> None:
        """Kills them all, those too that are born meanwhile, and returns when none is left."""
        pause = 0.001
        while self._group.kill():
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.05)

    async def remove(self) -> None:
        """Removes the group, which the kernel may hold for a moment after its last process."""
        for _ in range(100):
            if self._group.remove():
                return
            await asyncio.sleep(0.01)
