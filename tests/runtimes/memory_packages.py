"""Locks and layers without a resolver, a disk or a network: an index of names, and what was built as a dictionary.

As strict as the real one: a lock is only built for its own Python, once however many ask, and a version that another
lock has is kept as long as it fits.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.layers.api import BuildFailed, Say
from clowdy.schema.locks import Lock, Pin, Wanted, chosen, parse_lock, pin

KILOBYTE = 1024


@dataclass
class MemoryPackages:
    """Implements `clowdy.runtimes.layers.api.Packages`. `versions` of a name are oldest first."""

    versions: dict[str, list[str]] = field(
        default_factory=lambda: {"httpx": ["0.27", "0.28"], "h11": ["0.14"], "numpy": ["1.26", "2.1"]}
    )
    needs: dict[str, list[str]] = field(default_factory=lambda: {"httpx": ["h11"]})
    python: str = "3.11"
    platform: str = "memory"
    index: str = "0" * 64
    layers: dict[str, Lock] = field(default_factory=dict)
    resolved: list[Wanted] = field(default_factory=list)
    built: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unavailable: str = ""
    fails: str = ""
    gate: asyncio.Event | None = None
    _building: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    async def resolve(self, wanted: Wanted, *, before: Lock | None = None, say: Say) -> Lock:
        if self.unavailable:
            raise DriverUnavailable(self.unavailable)
        self.resolved.append(wanted)
        await asyncio.sleep(0)
        if wanted.lock is not None:
            environment = {"python_version": self.python, "sys_platform": "linux"}
            return Lock.of(chosen(parse_lock(wanted.lock), environment), self.python, self.platform)
        say(f"resolving {len(wanted.lines)} requirements")
        pins: dict[str, Pin] = {}
        waiting = list(wanted.lines)
        known = dict(before.versions) if before is not None else {}
        while waiting:
            requirement = Requirement(waiting.pop(0))
            name = canonicalize_name(requirement.name)
            version = self._version(requirement, known.get(name))
            digest = hashlib.sha256(f"{name} {version} {self.python}".encode()).hexdigest()
            if name in pins and pins[name].version != version:
                raise BuildFailed(f"{requirement} and {name}=={pins[name].version} are incompatible")
            if name not in pins:
                pins[name] = pin(name, version, [digest])
                waiting += self.needs.get(name, [])
        return Lock.of(pins.values(), self.python, self.platform)

    def _version(self, requirement: Requirement, known: str | None) -> str:
        versions = self.versions.get(canonicalize_name(requirement.name))
        if versions is None:
            raise BuildFailed(
                f"Because {requirement.name} was not found in the package registry and you require {requirement.name}, "
                "we can conclude that your requirements are unsatisfiable."
            )
        fitting = [version for version in versions if requirement.specifier.contains(version)]
        if not fitting:
            raise BuildFailed(f"Because there is no version of {requirement}, your requirements are unsatisfiable.")
        return known if known in fitting else str(max(fitting, key=Version))

    async def build(self, lock: Lock, say: Say) -> None:
        async with self._building[lock.digest]:
            if lock.digest in self.layers:
                return
            if self.unavailable:
                raise DriverUnavailable(self.unavailable)
            if (lock.python, lock.platform) != (self.python, self.platform):
                raise BuildFailed(f"the lock is for Python {lock.python}")
            say(f"installing {len(lock.pins)} packages")
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
            if self.fails:
                raise BuildFailed(self.fails)
            self.built.append(lock.digest)
            self.layers[lock.digest] = lock

    def has(self, digest: str) -> bool:
        return digest in self.layers

    def sizes(self) -> Mapping[str, int]:
        return {digest: len(lock.pins) * KILOBYTE for digest, lock in self.layers.items()}

    async def remove(self, digests: Iterable[str]) -> None:
        for digest in digests:
            if self.layers.pop(digest, None) is not None:
                self.removed.append(digest)
