"""Where nothing can be installed, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.layers.api import Say
from clowdy.schema.locks import Lock, Wanted


class NoPackages:
    """Implements `Packages`: there are none, and whoever asks for some is told `reason`."""

    python = platform = index = ""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def resolve(self, wanted: Wanted, *, before: Lock | None = None, say: Say) -> Lock:
        raise DriverUnavailable(self._reason)

    async def build(self, lock: Lock, say: Say) -> None:
        raise DriverUnavailable(self._reason)

    def has(self, digest: str) -> bool:
        return False

    def sizes(self) -> Mapping[str, int]:
        return {}

    async def remove(self, digests: Iterable[str]) -> None:
        return None
