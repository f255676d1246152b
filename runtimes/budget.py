"""The one limit on memory that all instances share."""

from __future__ import annotations

import asyncio

from clowdy.runtimes.api import Application, Kind, kind_of
from clowdy.schema.manifest import Network
from clowdy.schema.units import MEBIBYTE

STANDBY_BYTES = 16 * MEBIBYTE
"""What an empty sandbox counts for, without a network."""

CONNECTION_BYTES = 32 * MEBIBYTE
"""What connecting a sandbox to the network may take besides, and counts for."""


def standby_bytes(kind: Kind) -> int:
    """What an empty sandbox of `kind` counts for."""
    return STANDBY_BYTES + _connection_bytes(kind)


def instance_bytes(application: Application) -> int:
    """What an instance of `application` counts for."""
    return application.limits.memory_bytes + _connection_bytes(kind_of(application))


def _connection_bytes(kind: Kind) -> int:
    return 0 if kind.network is Network.OFF else CONNECTION_BYTES


class Budget:
    """How much memory instances may have together, and who waits for some of it."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit = limit_bytes
        self.used = 0
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def room(self) -> int:
        """What is left, in bytes."""
        return self.limit - self.used

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for memory."""
        return bool(self._waiting)

    def take(self, size: int) -> bool:
        """Counts `size` bytes more and says True, or False when they do not fit."""
        if size > self.room:
            return False
        self.used += size
        return True

    def give(self, size: int) -> None:
        """`size` bytes are free again."""
        self.used -= size
        self.changed()

    def changed(self) -> None:
        """Wakes who waits: there is room, or an instance that can make room, or a reason to stop waiting.

        All are woken, the first first, and whoever fits goes on: a huge function must not keep small ones of other
        projects waiting behind it.
        """
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self) -> None:
        """Returns at the next `changed`."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        finally:
            if future in self._waiting:
                self._waiting.remove(future)
