"""From what a project wants installed to its lock and layer, and back from a release to both."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from clowdy.runtimes.layers.api import Packages, Say
from clowdy.schema.locks import Lock, Wanted
from clowdy.server.git.repos import Repository
from clowdy.server.releases.locks import find_any_lock, find_lock, find_wish, lock_file, wish_file

REMEMBERED = 50
"""How many resolutions are remembered of pushes that did not go live: pushed again they become the same lock."""

REMEMBERED_SECONDS = 3600.0
USED_SECONDS = 24 * 3600.0
"""For how long a layer that was asked for is kept though no release has it: a push is at work on it."""


@dataclass(frozen=True, slots=True)
class Locked:
    """A lock as a release has it.

    `digest` is what records and versions call it: the digest of the lock that the requirements first became. `lock`
    is that lock for the Python that runs functions now, and names the layer. `files` is what refs/clowdy/locks lacks.
    """

    digest: str
    lock: Lock
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def layer(self) -> str:
        """What the layer is called."""
        return self.lock.digest


class Requirements:
    """Locks and layers for what runs here. Whatever needs the resolver raises BuildFailed or DriverUnavailable."""

    def __init__(self, packages: Packages, clock: Callable[[], float]) -> None:
        self.packages = packages
        self._clock = clock
        self._resolved: OrderedDict[tuple[str, str], tuple[float, Locked]] = OrderedDict()
        self._used: dict[str, float] = {}

    async def lock(
        self, repository: Repository, wanted: Wanted, *, live: str | None, upgrade: bool, say: Say
    ) -> Locked:
        """The lock of `wanted`: the one that is kept, else a new one that keeps the versions of `live` where it can.

        `live` is the digest of what serves. With `upgrade` everything is resolved anew.
        """
        key = self._key(wanted)
        remembered = (repository.path.name, key)
        before = None
        if not upgrade:
            digest = await asyncio.to_thread(find_wish, repository, key)
            kept = await self.here(repository, digest, wanted, say) if digest is not None else None
            if kept is not None:
                return kept
            at, known = self._resolved.get(remembered, (0.0, None))
            if known is not None and self._clock() - at < REMEMBERED_SECONDS:
                return known
            before = await asyncio.to_thread(find_any_lock, repository, live) if live is not None else None
        lock = await self.packages.resolve(wanted, before=before, say=say)
        locked = Locked(lock.digest, lock, {**wish_file(key, lock.digest), **lock_file(lock.digest, lock)})
        self._resolved[remembered] = (self._clock(), locked)
        while len(self._resolved) > REMEMBERED:
            self._resolved.popitem(last=False)
        return locked

    async def here(self, repository: Repository, digest: str, wanted: Wanted | None, say: Say) -> Locked | None:
        """The lock that releases call `digest` for the Python here, made with the old versions if need be.

        `wanted` is what it was made from, None where that cannot be known. None when the project has no such lock.
        """
        lock = await asyncio.to_thread(self.find, repository, digest)
        if lock is not None:
            return Locked(digest, lock)
        old = await asyncio.to_thread(find_any_lock, repository, digest)
        if old is None:
            return None
        if wanted is None:
            wanted = Wanted(tuple(f"{name}=={version}" for name, version in old.versions.items()))
        say(f"making the lock of Python {old.python} one for Python {self.packages.python}")
        lock = await self.packages.resolve(wanted, before=old, say=say)
        return Locked(digest, lock, lock_file(digest, lock))

    def find(self, repository: Repository, digest: str) -> Lock | None:
        """The same where it is there already; blocks."""
        return find_lock(repository, digest, self.packages.python, self.packages.platform)

    async def build(self, lock: Lock, say: Say) -> None:
        """The layer of `lock` is there when this returns, and stays for a day whatever becomes of it."""
        self._used[lock.digest] = self._clock()
        await self.packages.build(lock, say)
        self._used[lock.digest] = self._clock()

    def in_use(self) -> frozenset[str]:
        """The layers that a push asked for within a day."""
        now = self._clock()
        self._used = {digest: at for digest, at in self._used.items() if now - at < USED_SECONDS}
        return frozenset(self._used)

    def _key(self, wanted: Wanted) -> str:
        # Without Python and platform: the lock of one is what that of another begins from.
        return hashlib.sha256(f"{wanted.digest}\0{self.packages.index}".encode()).hexdigest()
