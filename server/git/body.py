"""The body of one request on its way to git: its first line known before anything starts, every wait bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from clowdy.server.git.pkt import FLUSH, LONGEST


class Body:
    """Pieces of a request. Raises TimeoutError when the client sends nothing for `stall_seconds`."""

    def __init__(self, pieces: AsyncIterator[bytes], stall_seconds: float) -> None:
        self._pieces = pieces
        self._stall_seconds = stall_seconds
        self._head = bytearray()
        self._ended = False

    async def head(self) -> bytes:
        """The first pkt-line at least, or all that there is."""
        while not self._ended and len(self._head) < self._wanted():
            piece = await self._next()
            if piece is None:
                self._ended = True
            else:
                self._head += piece
        return bytes(self._head)

    async def is_probe(self) -> bool:
        """Whether it is git's probe before a push of unknown length: a flush and nothing else."""
        return await self.head() == FLUSH

    async def pieces(self) -> AsyncIterator[bytes]:
        """Everything, once."""
        head = await self.head()
        self._head.clear()
        if head:
            yield head
        while not self._ended:
            piece = await self._next()
            if piece is None:
                return
            yield piece

    def _wanted(self) -> int:
        if len(self._head) < 5:
            return 5
        try:
            return min(max(int(self._head[:4], 16), 5), LONGEST)
        except ValueError:
            return 5

    async def _next(self) -> bytes | None:
        async with asyncio.timeout(self._stall_seconds):
            return await anext(self._pieces, None)
