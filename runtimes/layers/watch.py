"""Whether a build goes on, and what it has taken of the disk."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.sandbox.watcher import descendants

_ALIVE_TICKS = 5
_WALK_SECONDS = 5.0
MOST_BESIDE_BYTES = 128 * 1024 * 1024
"""What uv may keep of the index besides what it installs."""

# Names of files that the cache and the layer share.
_NAMES_OF_A_FILE = 2
_BESIDE_FILES = 20_000


class Stop(StrEnum):
    """Why a build was ended from the outside."""

    MEMORY = "memory"
    SIZE = "size"
    FILES = "files"
    DISK = "disk"
    TIME = "time"
    STALLED = "stalled"


class Taken(NamedTuple):
    """Bytes on the disk and files, each counted once for each of its names."""

    bytes: int
    files: int


def taken(folder: Path, most: Taken | None = None) -> Taken:
    """What lies below `folder`, or a little more than `most` when that is exceeded; blocks."""
    size = files = 0
    seen: set[int] = set()
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    files += 1
                    if found.st_nlink == 1 or entry.is_dir(follow_symlinks=False) or found.st_ino not in seen:
                        size += found.st_blocks * 512
                        seen.add(found.st_ino)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            # It was removed meanwhile, or its path is longer than any that is taken over.
            continue
        if most is not None and (size > most.bytes or files > most.files):
            break
    return Taken(size, files)


class Progress:
    """Notes signs of life: a line, or time on a processor. A server that drips a byte now and then gives none."""

    def __init__(self, now: float) -> None:
        self._at = now
        self._ticks = 0

    def printed(self, now: float) -> None:
        """A line came."""
        self._at = now

    def worked(self, ticks: int, now: float) -> None:
        """Its processes have had `ticks` of processor time; one that ended takes its own away."""
        if abs(ticks - self._ticks) >= _ALIVE_TICKS:
            self._ticks = ticks
            self._at = now

    def idle_seconds(self, now: float) -> float:
        """How long there was no sign."""
        return now - self._at


def processor_ticks(pid: int) -> int:
    """Processor time of everything below `pid`, in hundredths of a second on every usual kernel; blocks."""
    total = 0
    for each in descendants(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_bytes().rpartition(b")")[2].split()
            total += int(fields[11]) + int(fields[12])
        except (OSError, IndexError, ValueError):
            continue
    return total


class Disk:
    """The disk below a scratch folder, looked at cheaply: it is walked only when the file system has filled."""

    def __init__(self, folder: Path, limits: BuildLimits, now: float) -> None:
        self._folder = folder
        self._limits = limits
        self._most = Taken(
            limits.layer_bytes + MOST_BESIDE_BYTES, limits.layer_files * _NAMES_OF_A_FILE + _BESIDE_FILES
        )
        found = os.statvfs(folder)
        self._blocks, self._files = found.f_bfree, found.f_ffree
        self._walked_at = now

    def look(self, now: float) -> Stop | None:
        """Why the build has to end now, if it has to; blocks."""
        found = os.statvfs(self._folder)
        if found.f_bavail * found.f_frsize < self._limits.free_bytes:
            return Stop.DISK
        grown = (self._blocks - found.f_bfree) * found.f_frsize > self._most.bytes
        filled = self._files - found.f_ffree > self._most.files
        # What others remove meanwhile hides what this build writes.
        if not grown and not filled and now - self._walked_at < _WALK_SECONDS:
            return None
        self._walked_at = now
        used = taken(self._folder, self._most)
        if used.bytes > self._most.bytes:
            return Stop.SIZE
        return Stop.FILES if used.files > self._most.files else None
