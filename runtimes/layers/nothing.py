"""Where nothing can be installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.layers.api import Say
from clowdy.schema.locks import Lock, Wanted


class NoPackages:
    """Implements `Packages`: there are none, and none can be had."""

    python = platform = index = ""

    async def resolve(self, wanted: Wanted, *, before: Lock | None = None, say: Say) -> Lock:
        raise DriverUnavailable("requirements are not available in this version")

    async def build(self, lock: Lock, say: Say) -> None:
        raise DriverUnavailable("requirements are not available in this version")

    def has(self, digest: str) -> bool:
        return False

    def sizes(self) -> Mapping[str, int]:
        return {}

    async def remove(self, digests: Iterable[str]) -> None:
        return None
