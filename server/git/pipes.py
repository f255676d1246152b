"""Ends of pipes as the event loop sees them. Each end has one user at a time."""

from __future__ import annotations

import asyncio
import os

PIECE = 65536


class _End:
    """A descriptor that never blocks the loop; closing it ends whoever waits for it."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._loop = asyncio.get_running_loop()
        self._descriptor: int | None = descriptor
        self._waiting: asyncio.Future[None] | None = None

    @property
    def closed(self) -> bool:
        """Whether it was closed on this side."""
        return self._descriptor is None

    def close(self) -> None:
        """Closes it; safe to call twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)
            os.close(descriptor)
            self._wake()

    async def _ready(self, descriptor: int, *, writing: bool) -> None:
        self._waiting = self._loop.create_future()
        if writing:
            self._loop.add_writer(descriptor, self._wake)
        else:
            self._loop.add_reader(descriptor, self._wake)
        try:
            await self._waiting
        finally:
            self._waiting = None
            if not self.closed:
                self._loop.remove_writer(descriptor) if writing else self._loop.remove_reader(descriptor)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class PipeReader(_End):
    """Takes what comes."""

    async def readable(self) -> None:
        """Returns when there is something to read, or it was closed."""
        if self._descriptor is not None:
            await self._ready(self._descriptor, writing=False)

    async def read(self) -> bytes:
        """The next piece, b"" at the end or when it was closed."""
        while self._descriptor is not None:
            try:
                return os.read(self._descriptor, PIECE)
            except BlockingIOError:
                await self._ready(self._descriptor, writing=False)
        return b""


class PipeWriter(_End):
    """Gives what it is given."""

    async def write(self, data: bytes) -> bool:
        """Whether all of `data` was taken: False when nobody reads any more."""
        view = memoryview(data)
        while view:
            if self._descriptor is None:
                return False
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                await self._ready(self._descriptor, writing=True)
            except BrokenPipeError:
                return False
        return True
