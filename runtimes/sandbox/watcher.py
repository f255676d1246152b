"""Memory without control groups: what an instance and its /tmp hold, looked at every 100 ms."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

INTERVAL_SECONDS = 0.1

# What the kernel keeps for each file in memory, an empty one too; a control group counts it as well.
_FILE_BYTES = 1024


class Watched:
    """One instance under watch."""

    def __init__(self, pid: int, limit_bytes: int, on_short: Callable[[], None]) -> None:
        self.pid = pid
        self.limit_bytes = limit_bytes
        self.on_short = on_short
        self.exceeded = False


class Watcher:
    """Looks at every instance, one round after the other."""

    def __init__(self) -> None:
        self._watched: set[Watched] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, watched: Watched) -> None:
        """Begins to look at an instance."""
        self._watched.add(watched)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watch())

    def remove(self, watched: Watched) -> None:
        """Stops looking at it."""
        self._watched.discard(watched)

    async def close(self) -> None:
        """Stops."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            for watched in list(self._watched):
                used = await loop.run_in_executor(None, memory_of, watched.pid)
                if used > watched.limit_bytes and watched in self._watched:
                    self._watched.discard(watched)
                    watched.exceeded = True
                    watched.on_short()


def memory_of(pid: int) -> int:
    """Bytes that the processes below `pid` hold for themselves, and their /tmp; blocks."""
    processes = descendants(pid)
    # Shared pages of forked processes are divided among them, so that a fork counts no memory twice.
    return sum(map(_private_bytes, processes)) + _tmp_bytes(processes)


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, parents first."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop(0)
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                children = (task / "children").read_text().split()
                found += map(int, children)
                waiting += map(int, children)
        except OSError:
            continue
    return found


def _private_bytes(pid: int) -> int:
    total = 0
    try:
        with open(f"/proc/{pid}/smaps_rollup") as lines:
            for line in lines:
                if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                    total += int(line.split()[1]) * 1024
    except OSError:
        pass
    return total


def _tmp_bytes(processes: Sequence[int]) -> int:
    """What lies in the /tmp of the first process that has one of its own; those around a network have the host's."""
    host = Path("/tmp").stat().st_dev  # noqa: S108  (only compared with)
    for pid in processes:
        tmp = Path(f"/proc/{pid}/root/tmp")
        try:
            if tmp.stat().st_dev == host:
                continue
            found = os.statvfs(tmp)
        except OSError:
            continue
        files = found.f_files - found.f_ffree
        return (found.f_blocks - found.f_bfree) * found.f_frsize + files * _FILE_BYTES
    return 0
