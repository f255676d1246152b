"""What resolves and installs requirements, as releases know it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from clowdy.schema.locks import Lock, Wanted

Say = Callable[[str], None]
"""Takes one line of progress, without its end, and returns at once; called on the event loop."""


class BuildFailed(Exception):
    """The requirements cannot be resolved or installed; `text` is the resolver's reason, fit to be shown."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Packages(Protocol):
    """Makes locks and layers for the Python that runs functions here.

    `resolve` and `build` raise BuildFailed, and DriverUnavailable with the cure where nothing can be built here.
    A cancelled one leaves nothing; others who wait for the same lock go on.
    """

    @property
    def python(self) -> str:
        """What locks made here say, `3.11`."""
        ...

    @property
    def platform(self) -> str:
        """What locks made here say, `linux-x86_64-glibc`."""
        ...

    @property
    def index(self) -> str:
        """64 hex digits of where packages come from: a lock is kept by this too. Credentials are not part of it."""
        ...

    async def resolve(self, wanted: Wanted, *, before: Lock | None = None, say: Say) -> Lock:
        """The lock of `wanted`; versions of `before` are kept where they still fit.

        A lock that the repository brings is taken as it is, less what its markers leave out here.
        """
        ...

    async def build(self, lock: Lock, say: Say) -> None:
        """The layer of `lock` is there when this returns; the same lock is never built twice."""
        ...

    def has(self, digest: str) -> bool:
        """Whether the layer of that lock is complete."""
        ...

    def sizes(self) -> Mapping[str, int]:
        """Bytes on disk of every complete layer, by digest."""
        ...

    async def remove(self, digests: Iterable[str]) -> None:
        """Deletes layers; that nothing uses them is the caller's care. Unknown ones are passed over."""
        ...
