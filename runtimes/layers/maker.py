"""What is the same wherever requirements become locks and layers: each is made once, and a lock is read here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial

from clowdy.runtimes.layers.api import BuildFailed, Say
from clowdy.runtimes.layers.flights import Flights
from clowdy.runtimes.layers.index import Index
from clowdy.runtimes.layers.targets import lock_python, marker_environment
from clowdy.runtimes.layers.watch import Taken
from clowdy.runtimes.runner import Python
from clowdy.schema.locks import Lock, Wanted, chosen, parse_lock
from clowdy.schema.rejection import Rejection
from clowdy.schema.units import format_size


class Maker(ABC):
    """Implements `resolve` and `build` of `Packages` for a subclass that runs the programs and keeps the layers."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._locks: Flights[Lock] = Flights()
        self._layers: Flights[None] = Flights()

    @property
    @abstractmethod
    def _interpreter(self) -> Python:
        """The Python that functions get; raises DriverUnavailable while it is not known."""

    @property
    @abstractmethod
    def platform(self) -> str:
        """See Packages."""

    @abstractmethod
    def sizes(self) -> Mapping[str, int]:
        """See Packages."""

    @abstractmethod
    def has(self, digest: str) -> bool:
        """See Packages."""

    @abstractmethod
    async def _resolve(self, wanted: str, preferred: str, say: Say) -> str:
        """The text of a lock for the lines `wanted`; versions `preferred` (NAME==VERSION) are kept where they fit."""

    @abstractmethod
    async def _install(self, lock: Lock, say: Say) -> Taken:
        """Makes the layer of `lock`; what it takes."""

    @property
    def python(self) -> str:
        """See Packages."""
        return lock_python(self._interpreter)

    @property
    def index(self) -> str:
        """See Packages."""
        return self._index.digest

    async def resolve(self, wanted: Wanted, *, before: Lock | None = None, say: Say) -> Lock:
        """See Packages."""
        if wanted.lock is not None:
            return self._lock(wanted.lock)
        if not wanted.lines:
            return self._lock("")
        key = f"{wanted.digest} {before.digest if before is not None else ''}"
        return await self._locks.join(key, partial(self._make_lock, wanted, before), say)

    async def _make_lock(self, wanted: Wanted, before: Lock | None, say: Say) -> Lock:
        lines = "".join(f"{line}\n" for line in wanted.lines)
        kept = "" if before is None else "".join(f"{name}=={version}\n" for name, version in before.versions.items())
        return self._lock(await self._resolve(lines, kept, say))

    def _lock(self, text: str) -> Lock:
        try:
            pins = chosen(parse_lock(text), marker_environment(self._interpreter))
        except Rejection as rejection:
            raise BuildFailed(rejection.message) from None
        return Lock.of(pins, self.python, self.platform)

    async def build(self, lock: Lock, say: Say) -> None:
        """See Packages."""
        if not self.has(lock.digest):
            await self._layers.join(lock.digest, partial(self._make_layer, lock), say)

    async def _make_layer(self, lock: Lock, say: Say) -> None:
        if self.has(lock.digest):
            return
        python = lock_python(self._interpreter)
        if (lock.python, lock.platform) != (python, self.platform):
            raise BuildFailed(
                f"the lock is for Python {lock.python} on {lock.platform}, "
                f"and functions run Python {python} on {self.platform}"
            )
        size = await self._install(lock, say)
        count = len(lock.pins)
        say(f"{count} {'package' if count == 1 else 'packages'} installed, {format_size(size.bytes)}")

    async def close(self) -> None:
        """Ends every build."""
        await self._locks.close()
        await self._layers.close()
