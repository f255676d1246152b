"""Where a container's first program comes to fetch its descriptors: a socket in the folder that it alone sees."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

_NAME = ".door"
_END = b"\0\0"
_CREDENTIALS = struct.Struct("iii")


class Doorway:
    """Listens in `folder` until one has come. Only the container sees the folder: nothing else has to be asked."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            # By the descriptor: an address has 107 bytes, and a data directory may lie deeper.
            self._socket.bind(f"/proc/self/fd/{descriptor}/{_NAME}")
        finally:
            os.close(descriptor)
        # Inside it is another user.
        self._path.chmod(0o666)
        self._socket.listen(1)

    async def admit(self, program: Sequence[str], rules: bytes, descriptors: Sequence[int]) -> int:
        """Waits for who becomes `program` and hands it what it needs; its process id here, 0 where that is not seen."""
        loop = asyncio.get_running_loop()
        visitor, _ = await loop.sock_accept(self._socket)
        with visitor:
            credentials = visitor.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            socket.send_fds(visitor, ["\0".join(program).encode() + _END + rules], list(descriptors))
        self.close()
        return int(_CREDENTIALS.unpack(credentials)[0])

    def close(self) -> None:
        """Nobody can come any more, and the folder is empty again."""
        self._socket.close()
        self._path.unlink(missing_ok=True)
