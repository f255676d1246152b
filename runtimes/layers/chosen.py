"""Requirements for whichever driver is in use, where that is not known from the beginning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from clowdy.runtimes.layers.api import Packages, Say
from clowdy.runtimes.layers.nothing import NoPackages
from clowdy.schema.locks import Lock, Wanted


class ChosenPackages:
    """Implements `Packages` by the one of `by_driver` that `name` names when it is asked; by none while it names none.

    What that is called, as its Python, is not known then, so nothing is found and nothing can be removed.
    """

    def __init__(self, by_driver: Mapping[str, Packages], name: Callable[[], str]) -> None:
        self._by_driver = by_driver
        self._name = name

    @property
    def _chosen(self) -> Packages:
        name = self._name()
        return self._by_driver.get(name) or NoPackages(f"nothing installs requirements for the runtime {name} now")

    @property
    def python(self) -> str:
        """See Packages."""
        return self._chosen.python

    @property
    def platform(self) -> str:
        """See Packages."""
        return self._chosen.platform

    @property
    def index(self) -> str:
        """See Packages."""
        return self._chosen.index

    async def resolve(self, wanted: Wanted, *, before: Lock | None = None, say: Say) -> Lock:
        """See Packages."""
        return await self._chosen.resolve(wanted, before=before, say=say)

    async def build(self, lock: Lock, say: Say) -> None:
        """See Packages."""
        await self._chosen.build(lock, say)

    def has(self, digest: str) -> bool:
        """See Packages."""
        return self._chosen.has(digest)

    def sizes(self) -> Mapping[str, int]:
        """See Packages."""
        return self._chosen.sizes()

    async def remove(self, digests: Iterable[str]) -> None:
        """See Packages."""
        await self._chosen.remove(digests)
