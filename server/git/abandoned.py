"""What pushes that were cut leave in a repository: the folder that kept their objects apart.

Git removes it when it is asked to end, unless it is killed or its own unpacking still writes there. Nothing reads it
again, and a pack may have 256 MB.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

_TRIES = 20
_PAUSE_SECONDS = 0.05


class AbandonedQuarantines:
    """Removes them when the last push of a repository ends: until then one may belong to a push that runs."""

    def __init__(self) -> None:
        self._pushes: Counter[Path] = Counter()

    @contextlib.asynccontextmanager
    async def watch(self, repository: Path) -> AsyncIterator[None]:
        """Holds for one push, from before its git starts until after that has ended."""
        self._pushes[repository] += 1
        try:
            yield
        finally:
            self._pushes[repository] -= 1
            if not self._pushes[repository]:
                del self._pushes[repository]
                # Named before anything is awaited, so that the next push's folder is never among them.
                if found := _quarantines(repository):
                    await asyncio.shield(asyncio.to_thread(_remove, found))


def _quarantines(repository: Path) -> list[str]:
    try:
        with os.scandir(repository / "objects") as entries:
            return [entry.path for entry in entries if entry.name.startswith("tmp_objdir-")]
    except FileNotFoundError:
        return []


def _remove(folders: Sequence[str]) -> None:
    for folder in folders:
        for _ in range(_TRIES):
            # A process of the group that was told to end may still write into it.
            shutil.rmtree(folder, ignore_errors=True)
            if not os.path.lexists(folder):
                break
            time.sleep(_PAUSE_SECONDS)
