"""Makes locks and layers: requirements in, complete folders out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from clowdy.runtimes.layers.api import Say
from clowdy.runtimes.layers.index import Index
from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.layers.maker import Maker
from clowdy.runtimes.layers.premises import Apart, Premises
from clowdy.runtimes.layers.store import LayerStore
from clowdy.runtimes.layers.targets import lock_platform
from clowdy.runtimes.layers.threads import away
from clowdy.runtimes.layers.tree import check_size, seal
from clowdy.runtimes.layers.watch import Taken
from clowdy.runtimes.runner import Python, find_python
from clowdy.schema.locks import LARGEST_LOCK_BYTES, Lock

__all__ = ["Apart", "LayerBuilder"]


class LayerBuilder(Maker):
    """Implements `Packages`, below `folder`, which has the layers and nothing else.

    `run_dir` is where bubblewrap finds them when `folder` lies where other users cannot pass. PARTLY is for
    development, where functions run without isolation too.
    """

    def __init__(
        self,
        folder: Path,
        run_dir: Path,
        index: Index,
        *,
        apart: Apart = Apart.WHOLLY,
        python: str | None = None,
        limits: BuildLimits | None = None,
    ) -> None:
        super().__init__(index)
        self._folder = folder
        self._run_dir = run_dir
        self._apart = apart
        self._wanted_python = python
        self._limits = limits or BuildLimits()
        self._store = LayerStore(folder)
        self._python: Python
        self._premises: Premises

    @property
    def _interpreter(self) -> Python:
        return self._python

    @property
    def platform(self) -> str:
        """See Packages."""
        return lock_platform()

    async def open(self) -> None:
        """Clears what an earlier server left and finds the layers that are there; raises DriverUnavailable.

        What a build needs is looked for by the first one.
        """
        await away(self._open)

    def _open(self) -> None:
        self._python = find_python(self._wanted_python, for_any_user=self._apart is Apart.WHOLLY and os.geteuid() == 0)
        self._store.open()
        self._premises = Premises(
            self._folder, self._run_dir, self._store, self._python, self._index, self._apart, self._limits
        )

    async def close(self) -> None:
        """Ends every build."""
        await super().close()
        self._premises.close()

    def has(self, digest: str) -> bool:
        """See Packages."""
        return self._store.has(digest)

    def sizes(self) -> Mapping[str, int]:
        """See Packages."""
        return self._store.sizes

    async def remove(self, digests: Iterable[str]) -> None:
        """See Packages."""
        await away(partial(self._store.remove, tuple(digests)))

    async def _resolve(self, wanted: str, preferred: str, say: Say) -> str:
        async with self._premises.workshop(wanted=wanted, lock=preferred) as workshop:
            await self._premises.run(workshop, workshop.resolve(), say)
            return await away(partial(_read, workshop.lock))

    async def _install(self, lock: Lock, say: Say) -> Taken:
        async with self._premises.workshop(wanted="", lock=lock.text) as workshop:
            if (lacks := self._premises.lacks) is not None:
                say(lacks)
            if lock.text:
                await self._premises.run(workshop, workshop.install(), say)
                # Before the compiler spends minutes on what is too much anyway.
                await away(partial(check_size, workshop.site, self._limits))
                await self._premises.run(workshop, workshop.compile(), say)
            # Nothing of the build runs any more, so that nothing changes behind what is judged.
            size = await away(partial(seal, workshop.site, self._limits))
            await away(partial(self._store.complete, lock.digest, workshop.site, size))
        return size


def _read(path: Path) -> str:
    # Written by the build: a link or a pipe in its place must lead nowhere.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        return file.read(LARGEST_LOCK_BYTES + 1).decode(errors="replace")
