"""What a call prints: from `sys.stdout` and `sys.stderr`, and from descriptors 1 and 2, as LOG frames of that call.

Text from Python is collected for a moment, so that a short call costs one write with its answer; a thread sends what
lies longer, and empties the pipe behind descriptors 1 and 2 however fast it fills. Nothing is kept beyond the limit.
"""

from __future__ import annotations

import io
import os
import select
import time
from _thread import RLock, get_native_id, start_new_thread

from . import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .channel import Channel

_AT_ONCE = 16 * 1024
_LINGER_SECONDS = 0.05


class CallLog:
    """What one call has printed and may still print."""

    __slots__ = ("call", "left", "parts", "size")

    def __init__(self, call: int) -> None:
        self.call = call
        self.left = frames.LOG_LIMIT
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, data: bytes) -> None:
        """Takes `data` as far as the limit allows."""
        if self.left < 0 or not data:
            return
        if len(data) > self.left:
            data = data[: self.left] + frames.LOG_MARK
            self.left = -1
        else:
            self.left -= len(data)
        self.parts.append(data)
        self.size += len(data)

    def take(self) -> bytes:
        """What was collected, as a frame, or nothing."""
        if not self.size:
            return b""
        body = b"".join(self.parts)
        self.parts = []
        self.size = 0
        return frames.pack(frames.LOG, self.call, b"", body)


class Logs:
    """Every open log, and who is printing now."""

    def __init__(self, channel: Channel, pipe: int) -> None:
        self._channel = channel
        self.current: Callable[[], CallLog | None] = self._newest
        self._begin(pipe)

    def _begin(self, pipe: int) -> None:
        self._pipe = pipe
        self._lock = RLock()
        self._open: dict[int, CallLog] = {}
        self._running: CallLog | None = None
        self._sent_at = 0.0
        self._ticking = False
        self._cut = b""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._readable = select.poll()
        self._readable.register(pipe, select.POLLIN)
        self._pump_task = 0
        self._stopping = False
        self.forked = False
        os.set_blocking(pipe, False)

    def _newest(self) -> CallLog | None:
        return self._running

    def start(self) -> None:
        """Begins to empty the pipe."""
        start_new_thread(self._pump, ())

    @property
    def descriptors(self) -> tuple[int, int]:
        """The pipe's reading end, and what wakes the thread that empties it."""
        return self._pipe, self._wake

    def stop(self) -> None:
        """Returns when the thread that empties the pipe is gone, so that the process can be forked."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        while not self._pump_task or os.path.exists(f"/proc/self/task/{self._pump_task}"):  # noqa: PTH110
            time.sleep(0.001)

    def adopt(self, pipe: int) -> None:
        """In a child that the runner forked: `pipe` is what lies behind its descriptors 1 and 2."""
        os.close(self._wake)
        self._begin(pipe)
        self.start()

    def begin(self, call: int) -> CallLog:
        """Opens the log of a call, which is the one that prints from now on."""
        log = CallLog(call)
        self._open[call] = log
        self._running = log
        return log

    def end(self, log: CallLog) -> bytes:
        """Closes a log; the last frame of it, to be written before the answer, or nothing."""
        with self._lock:
            if self._readable.poll(0):
                self._drain()
            if self._cut:
                log.add(self._cut)
                self._cut = b""
            self._open.pop(log.call, None)
            if self._running is log:
                self._running = next(iter(self._open.values()), None) if self._open else None
            return log.take()

    def write(self, data: bytes, *, now: bool = False) -> None:
        """Adds to the log of whoever is printing. `now`: a line is complete and may be sent."""
        with self._lock:
            log = self.current() or self._running
            if log is None:
                return
            log.add(data)
            if not log.size:
                return
            if log.size >= _AT_ONCE or (now and time.monotonic() - self._sent_at > _LINGER_SECONDS):
                self._send(log)
            elif not self._ticking:
                self._ticking = True
                os.eventfd_write(self._wake, 1)

    def flush(self) -> None:
        """Sends all that was collected."""
        with self._lock:
            for log in list(self._open.values()):
                if log.size:
                    self._send(log)

    def _send(self, log: CallLog) -> None:
        self._channel.send(log.take())
        self._sent_at = time.monotonic()

    def _drain(self) -> None:
        for _ in range(8):
            try:
                data = os.read(self._pipe, 65536)
            except OSError:
                return
            if not data:
                return
            # A character that the end of a read cut in two waits for its rest.
            data = self._cut + data
            self._cut = data[(end := _whole(data)) :]
            log = self._running
            if log is not None:
                log.add(data[:end])
                if log.size >= _AT_ONCE:
                    self._send(log)

    def _pump(self) -> None:
        self._pump_task = get_native_id()
        waiting = select.poll()
        waiting.register(self._pipe, select.POLLIN)
        waiting.register(self._wake, select.POLLIN)
        quiet = 0
        flushed_at = 0.0
        while not (self.forked or self._stopping):
            ready = waiting.poll(50 if self._ticking else None)
            if any(event & ~select.POLLIN for _, event in ready):
                # The function closed these descriptors; what it prints there from now on is lost.
                return
            now = time.monotonic()
            with self._lock:
                for descriptor, _ in ready:
                    if descriptor == self._pipe:
                        self._drain()
                    else:
                        os.eventfd_read(self._wake)
                        flushed_at = now
                if now - flushed_at < _LINGER_SECONDS:
                    self._ticking = True
                    continue
                flushed_at = now
                sent = False
                for log in list(self._open.values()):
                    if log.size:
                        self._send(log)
                        sent = True
                # A second of ticking after the last text spares a wake-up for each call that prints.
                quiet = 0 if sent or ready else quiet + 1
                self._ticking = quiet < 20

    def after_fork(self) -> None:
        """In a child that the function forked: Python's text goes to descriptors 1 and 2, as a program's would."""
        self.forked = True
        self._lock = RLock()
        self._open = {}
        self._running = None


def _whole(data: bytes) -> int:
    """How much of `data` does not end within a character."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if length > back else len(data)
    return len(data)


class Stream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of a function."""

    encoding = "utf-8"
    errors = "backslashreplace"
    newlines = None
    mode = "w"
    line_buffering = True

    def __init__(self, logs: Logs, descriptor: int, name: str) -> None:
        self._logs = logs
        self._descriptor = descriptor
        self.name = name
        self.buffer = _Raw(self)

    def write(self, text: str) -> int:
        """Prints `text`."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text:
            self.put(text.encode("utf-8", "backslashreplace"), "\n" in text)
        return len(text)

    def put(self, data: bytes, line: bool) -> None:
        """Prints bytes."""
        if self._logs.forked:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
        else:
            self._logs.write(data, now=line)

    def flush(self) -> None:
        """Does nothing: text is on its way once it is written."""

    def writable(self) -> bool:
        """True"""
        return True

    def isatty(self) -> bool:
        """False"""
        return False

    def fileno(self) -> int:
        """The descriptor whose output goes to the same log."""
        return self._descriptor

    def close(self) -> None:
        """Does nothing: later calls print too."""

    def reconfigure(self, **_: object) -> None:
        """Accepted and without effect: it is UTF-8 and unbuffered in any case."""


class _Raw(io.RawIOBase):
    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, data: object) -> int:
        content = bytes(data)  # type: ignore[call-overload]
        self._stream.put(content, True)
        return len(content)
