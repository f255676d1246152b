"""Tells when files change: the kernel's inotify on the event loop."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path

_IN_MODIFY = 0x2
_EVENT = struct.Struct("iIII")


class Inotify:
    """Callbacks for changed files. One descriptor for all; opened with the first file."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._libc = ctypes.CDLL(None, use_errno=True)

    def add(self, path: Path, on_change: Callable[[], None]) -> int | None:
        """Begins to call `on_change`; what `remove` takes, or None where the file cannot be watched."""
        if self._descriptor < 0:
            self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if self._descriptor < 0:
                return None
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._descriptor, self._readable)
        watch: int = self._libc.inotify_add_watch(self._descriptor, os.fsencode(path), _IN_MODIFY)
        if watch < 0:
            return None
        self._callbacks[watch] = on_change
        return watch

    def remove(self, watch: int) -> None:
        """Stops calling."""
        if self._callbacks.pop(watch, None) is not None and self._descriptor >= 0:
            self._libc.inotify_rm_watch(self._descriptor, watch)

    def _readable(self) -> None:
        try:
            data = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return
        offset = 0
        while offset + _EVENT.size <= len(data):
            watch, _, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size + length
            if callback := self._callbacks.get(watch):
                callback()

    def close(self) -> None:
        """Stops all."""
        if self._descriptor >= 0:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
            self._callbacks.clear()
