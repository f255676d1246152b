"""How a program of a build ended, and what that means in words."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clowdy.runtimes.layers.api import BuildFailed, Say
from clowdy.runtimes.layers.index import Index
from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.layers.recipe import PLACE
from clowdy.runtimes.layers.tree import too_large, too_many_files
from clowdy.runtimes.layers.watch import Stop
from clowdy.runtimes.layers.words import Words
from clowdy.schema.units import format_size

_KILLED = (137, -9)
# By SIGXFSZ: a file was to become larger than all files may be together.
_OUTGROWN = (153, -25)
_REFUSED = {
    f"(os error {errno.EFBIG})": Stop.SIZE,
    f"(os error {errno.ENOSPC})": Stop.DISK,
    f"(os error {errno.EDQUOT})": Stop.DISK,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Its exit status, what it printed last, and why it was ended, when it was."""

    status: int
    lines: tuple[str, ...]
    stop: Stop | None = None


class Judge:
    """Puts what programs of a build print, and how they end, into words fit to be shown.

    `scratch` is where the build's folder lies when they do not see it as PLACE.
    """

    def __init__(self, index: Index, limits: BuildLimits, scratch: Path | None = None) -> None:
        self._index = index
        self._limits = limits
        files = {"wanted.txt": "the requirements", "lock.txt": "the lock"}
        # uv shows a path from where it works.
        shown = {f"`{file}`": name for file, name in files.items()}
        for place in (PLACE, *(() if scratch is None else (str(scratch),))):
            shown |= {f"{place}/{file}": name for file, name in files.items()} | {f"{place}/": ""}
        if scratch is not None:
            shown[str(scratch)] = ""
        self._words = Words(index.hide, shown)

    def progress(self, say: Say) -> Callable[[str], None]:
        """Takes lines of a program, and passes on those that tell somebody something."""

        def on_line(line: str) -> None:
            if (shown := self._words.progress(line)) is not None:
                say(shown)

        return on_line

    def check(self, outcome: Outcome) -> None:
        """Raises BuildFailed with the reason, unless it went well."""
        if outcome.stop is not None:
            raise self.stopped(outcome.stop)
        if outcome.status in _OUTGROWN:
            raise self.stopped(Stop.SIZE)
        if outcome.status != 0:
            reason = self._reason(outcome)
            # What the kernel refused for a limit of ours; uv shows the number in any language.
            stop = next((stop for mark, stop in _REFUSED.items() if mark in reason), None)
            raise BuildFailed(reason) if stop is None else self.stopped(stop)

    def _reason(self, outcome: Outcome) -> str:
        said = self._words.reason(outcome.lines)
        if said:
            return said
        return "it was killed" if outcome.status in _KILLED else f"it ended with status {outcome.status} and no reason"

    def stopped(self, stop: Stop) -> BuildFailed:
        """Why a program was ended."""
        limits = self._limits
        asked = ", ".join(self._index.asked)
        silent = f"nothing came from {asked}" if asked else "the installer gave no sign of life"
        return BuildFailed(
            {
                Stop.MEMORY: f"installing takes more than {format_size(limits.memory_bytes)} of memory",
                Stop.SIZE: too_large(limits),
                Stop.FILES: too_many_files(limits),
                Stop.DISK: f"the disk is full: less than {format_size(limits.free_bytes)} would be left",
                Stop.TIME: f"it took longer than {limits.seconds:g} s",
                Stop.STALLED: f"{silent} for {limits.stall_seconds:g} s",
            }[stop]
        )
