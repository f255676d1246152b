"""The runner's end of the channel: blocking reads of whole frames, writes that never mix."""

from __future__ import annotations

import os
import select
from _thread import RLock

from . import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Body = bytes | list[bytes]

# Above 128 KB malloc would map and unmap memory for every frame.
_CHUNK = 32 * 1024
# A larger body stays in the parts in which it came: joined it would be there twice.
_LARGE = 1024 * 1024
# Bound here, since the function's `os._exit` is one that prints what is left first.
_exit = os._exit


def joined(body: Body) -> bytes | bytearray:
    """A body as one; its parts are taken out of their list on the way."""
    if isinstance(body, bytes):
        return body
    whole = bytearray()
    body.reverse()
    while body:
        whole += body.pop()
    return whole


class Gone(OSError):
    """Nobody takes the answer any more."""


class Channel:
    """Frames over one descriptor. `send` may be called from any thread, `read` from one."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        # Reentrant: a signal handler of the function may print while an answer is being written.
        self._lock = RLock()
        self._buffer = b""
        self._arrived = select.poll()
        self._arrived.register(descriptor, select.POLLIN)

    def read(self) -> tuple[int, int, bytes, Body]:
        """The next frame: kind, call id, head, body. Ends the process when the server is gone."""
        data = self._buffer or self._next()
        while len(data) < frames.HEADER_BYTES:
            data += self._more(_CHUNK)
        magic, kind, _, call, head_length, body_length = frames.HEADER.unpack_from(data)
        if magic != frames.MAGIC:
            # Somebody else read from this descriptor: nothing that follows can be trusted.
            _exit(70)
        middle = frames.HEADER_BYTES + head_length
        end = middle + body_length
        if len(data) < end and body_length > _LARGE:
            while len(data) < middle:
                data += self._more(_CHUNK)
            head = data[frames.HEADER_BYTES : middle]
            self._buffer = b""
            return kind, call, head, [data[middle:], *self._parts(end - len(data))]
        if len(data) < end:
            parts = [data]
            parts += self._parts(end - len(data))
            data = b"".join(parts)
        self._buffer = data[end:] if len(data) > end else b""
        return kind, call, data[frames.HEADER_BYTES : middle], data[middle:end]

    def _parts(self, missing: int) -> Iterator[bytes]:
        """So many bytes, as they come."""
        while missing > 0:
            part = self._more(min(missing, 1 << 20))
            missing -= len(part)
            yield part

    @property
    def waiting(self) -> bool:
        """Whether a part of the next frame was already read."""
        return bool(self._buffer)

    @property
    def arrived(self) -> bool:
        """Whether the next frame has begun to come."""
        return bool(self._buffer) or bool(self._arrived.poll(0))

    def _next(self) -> bytes:
        # A blocked read would also be woken whenever the server takes an answer out of the socket, for nothing.
        self._arrived.poll()
        return self._more(_CHUNK)

    def _more(self, size: int) -> bytes:
        try:
            data = os.read(self.descriptor, size)
        except OSError:
            _exit(70)
        if not data:
            _exit(0)
        return data

    def send(self, data: bytes) -> None:
        """Writes all of `data`, one or more whole frames. Ends the process when that is not possible."""
        with self._lock:
            descriptor = self.descriptor
            if descriptor < 0:
                return
            try:
                written = os.write(descriptor, data)
                if written < len(data):
                    rest = memoryview(data)[written:]
                    while rest:
                        rest = rest[os.write(descriptor, rest) :]
            except OSError:
                _exit(70)

    def adopt(self, descriptor: int) -> None:
        """In a child that the runner forked: frames go over `descriptor` from now on."""
        self.descriptor = descriptor
        self._lock = RLock()
        self._buffer = b""
        self._arrived = select.poll()
        self._arrived.register(descriptor, select.POLLIN)

    def forget(self) -> None:
        """In a child that the function forked: the channel stays the parent's alone."""
        self._lock = RLock()
        descriptor, self.descriptor = self.descriptor, -1
        try:
            os.close(descriptor)
        except OSError:
            pass
