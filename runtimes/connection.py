"""The server's end of one instance's channel: frames to and from the runner, sorted by call.

The hot path: no futures, tasks or timers of its own per call. One timer serves all calls of a connection and is set
again only when it fires.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import cast

from clowdy.runtimes.api import Call, CallSink, FailureCode
from clowdy.runtimes.inside import frames
from clowdy.runtimes.wire import Decoder, Frame, WireError, pack

ANSWER_LIMIT = 6 * 1024 * 1024
"""What an answer that is not streamed may have, in bytes."""

GRACE_SECONDS = 5.0
"""What a call may take to end after its client left; and after its time, before its instance is ended with it."""

_RESULT = frames.RESULT
_LOG = frames.LOG
_LOG_TOTAL = frames.LOG_LIMIT + len(frames.LOG_MARK)


def _write_parts(transport: asyncio.Transport, number: int, head: bytes, parts: list[bytes]) -> None:
    """Writes a call with a large body, none of which is there a second time."""
    size = sum(map(len, parts))
    transport.write(frames.HEADER.pack(frames.MAGIC, frames.CALL, 0, number, len(head), size) + head)
    parts.reverse()
    while parts:
        transport.write(parts.pop())


def _timed_out(pending: _Pending) -> str:
    return f"Function timed out after {pending.seconds:g} seconds"


def _as_utf8(text: bytes) -> bytes:
    return text.decode("utf-8", "replace").encode()


class _Silence:
    """Takes what a call still says after its time, and tells when it has ended."""

    def __init__(self, on_settled: Callable[[], None]) -> None:
        self._on_settled = on_settled

    def log(self, text: bytes) -> None:
        pass

    def result(self, head: bytes, body: bytes) -> None:
        self._on_settled()

    def head(self, head: bytes) -> None:
        pass

    def piece(self, body: bytes) -> None:
        pass

    def end(self) -> None:
        self._on_settled()

    def failed(self, code: FailureCode, text: str) -> None:
        self._on_settled()


class _Pending:
    """One call that has not ended."""

    __slots__ = ("deadline", "late", "log_left", "seconds", "sink", "streaming")

    def __init__(self, sink: CallSink, seconds: float, deadline: float) -> None:
        self.sink = sink
        self.seconds = seconds
        self.deadline = deadline
        self.log_left = _LOG_TOTAL
        self.streaming = False
        self.late = False


class Connection(asyncio.Protocol):
    """One channel. `on_end` is called once, when nothing more can be called through it, with the reason so far.

    `on_end(None, text)` means that the other side closed it: the reason is for the owner to find out. The owner
    ends the calls with `fail_all`, in every case. `on_settled()` tells that a call that was over its time has ended.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_start_frame: Callable[[Frame], None],
        on_end: Callable[[FailureCode | None, str], None],
        on_settled: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop = loop
        self._time = loop.time
        self._on_start_frame = on_start_frame
        self._on_end = on_end
        self._on_settled = on_settled
        self._silence: CallSink = _Silence(self._settled)
        self._decoder = Decoder(body_limit=ANSWER_LIMIT)
        self._transport: asyncio.Transport | None = None
        self._calls: dict[int, _Pending] = {}
        self._last_call = 0
        self._timer: asyncio.TimerHandle | None = None
        self._late: list[int] = []
        self.late = 0
        """How many calls are over their time, were asked to end, and have not."""
        self.alive = True
        self.suspicion: Callable[[], bool] | None = None
        """Set while memory is short: asked before an answer is believed, True ends the instance instead."""

    @property
    def busy(self) -> int:
        """How many calls have not ended."""
        return len(self._calls)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not every loop's transports are subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def send(self, kind: int, call: int, head: bytes = b"", body: bytes = b"") -> None:
        """Writes one frame that is not a call."""
        if self.alive and self._transport is not None:
            self._transport.write(pack(kind, call, head, body))

    def call(self, call: Call) -> int:
        """Hands a call over; see `Instance.call`."""
        number = self._last_call + 1 if self._last_call < 0xFFFFFFFF else 1
        self._last_call = number
        deadline = self._time() + call.timeout_seconds
        self._calls[number] = _Pending(call.sink, call.timeout_seconds, deadline)
        transport = self._transport
        if not self.alive or transport is None:
            # Told later, not now: a sink must not end before its caller knows the call's id.
            self._loop.call_soon(self._fail_late, number)
            return number
        timer = self._timer
        if timer is None or timer.when() > deadline:
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(deadline, self._check_deadlines)
        if isinstance(call.body, bytes):
            transport.write(pack(frames.CALL, number, call.head, call.body))
        else:
            _write_parts(transport, number, call.head, call.body)
        return number

    def _fail_late(self, number: int) -> None:
        pending = self._calls.pop(number, None)
        if pending is not None:
            pending.sink.failed(FailureCode.CRASHED, "The instance had ended before it was called")

    def data_received(self, data: bytes) -> None:
        try:
            found = self._decoder.feed(data)
            for frame in found:
                kind, number, head, body = frame
                if number == 0:
                    self._on_start_frame(frame)
                    continue
                pending = self._calls.get(number)
                if kind == _RESULT:
                    if pending is None or pending.streaming:
                        raise WireError("a result that no call waits for")
                    if self.suspicion is not None and self.suspicion():
                        return
                    del self._calls[number]
                    pending.sink.result(head, body)
                elif kind == _LOG:
                    # A thread that the call left behind may still print: that is lost, and no reason to end it all.
                    if pending is not None:
                        pending.log_left -= len(body)
                        if pending.log_left < 0:
                            raise WireError("more log than a call may have")
                        pending.sink.log(body if body.isascii() else _as_utf8(body))
                elif pending is None:
                    raise WireError("a frame of a call that does not run")
                else:
                    self._rare(kind, number, pending, head, body)
                if not self.alive:
                    return
        except WireError as error:
            self.end(FailureCode.CRASHED, f"The result channel holds what the runner did not write: {error}")

    def _rare(self, kind: int, number: int, pending: _Pending, head: bytes, body: bytes) -> None:
        """Answers in pieces, and failures."""
        if kind == frames.HEAD and not pending.streaming:
            pending.streaming = True
            pending.sink.head(head)
        elif kind == frames.PIECE and pending.streaming:
            pending.sink.piece(body)
        elif kind == frames.END and pending.streaming:
            if self.suspicion is not None and self.suspicion():
                return
            del self._calls[number]
            pending.sink.end()
        elif kind == frames.FAILED:
            try:
                code = FailureCode(json.loads(head)["code"])
            except (ValueError, KeyError, TypeError):
                raise WireError("a failure without its code") from None
            if self.suspicion is not None and self.suspicion():
                return
            del self._calls[number]
            text = body[: frames.TEXT_LIMIT].decode(errors="replace")
            # Before the sink is told: whoever it gives the instance back to must not hand it to the next caller.
            if code in (FailureCode.CRASHED, FailureCode.OUT_OF_MEMORY, FailureCode.TIMEOUT):
                self.end(code, text)
            pending.sink.failed(code, text)
        else:
            raise WireError(f"a frame of kind {kind} at the wrong time")

    def _check_deadlines(self) -> None:
        self._timer = None
        if not self.alive or not self._calls:
            return
        now = self._time()
        late = [number for number, pending in self._calls.items() if pending.deadline <= now + 0.0005]
        others = len(self._calls) > len(late)
        if late and not (others and all(not self._calls[number].late for number in late)):
            self._late = late
            self.end(FailureCode.TIMEOUT, "A call exceeded its time")
            return
        for number in late:
            self._ask_late(number, now)
        self._watch_deadlines(min(pending.deadline for pending in self._calls.values()))

    def _ask_late(self, number: int, now: float) -> None:
        """Fails a call that is over its time, and lets it end by itself: its instance has others."""
        pending = self._calls[number]
        sink, pending.sink = pending.sink, self._silence
        pending.late = True
        pending.deadline = now + GRACE_SECONDS
        # Before the sink is told: whoever it gives the instance back to must not hand it to the next caller.
        self.late += 1
        self.send(frames.CANCEL, number, b"", frames.LATE)
        sink.failed(FailureCode.TIMEOUT, _timed_out(pending))

    def _settled(self) -> None:
        self.late -= 1
        self._on_settled()

    def _watch_deadlines(self, earliest: float) -> None:
        timer = self._timer
        if timer is None or timer.when() > earliest:
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(earliest, self._check_deadlines)

    def streams(self, number: int) -> bool:
        """Whether a call that has not ended has begun to answer in pieces."""
        pending = self._calls.get(number)
        return pending is not None and pending.streaming

    def runs(self, number: int) -> bool:
        """Whether a call has not ended."""
        return number in self._calls

    def cancel(self, number: int, grace_seconds: float) -> None:
        """Asks a call to end, for which it has `grace_seconds`: after them it is one that is over its time."""
        pending = self._calls.get(number)
        if pending is None or pending.late:
            return
        self.send(frames.CANCEL, number)
        pending.deadline = min(pending.deadline, self._time() + grace_seconds)
        self._watch_deadlines(pending.deadline)

    def credit(self, number: int, size: int) -> None:
        """See `Instance.credit`."""
        if number in self._calls:
            self.send(frames.CREDIT, number, b"", size.to_bytes(4, "big"))

    def log_all(self, text: bytes) -> None:
        """Gives every running call what was found printed after the runner's end."""
        for pending in self._calls.values():
            piece = text[: pending.log_left]
            if piece:
                pending.log_left -= len(piece)
                pending.sink.log(_as_utf8(piece))

    def fail_all(self, code: FailureCode, text: str) -> None:
        """Fails every call that has not ended."""
        calls, self._calls = self._calls, {}
        for number, pending in calls.items():
            if code is not FailureCode.TIMEOUT:
                pending.sink.failed(code, text)
            elif number in self._late:
                pending.sink.failed(code, _timed_out(pending))
            else:
                pending.sink.failed(FailureCode.CRASHED, "Another call of the same instance exceeded its time")

    def end(self, code: FailureCode | None, text: str) -> None:
        """Nothing is read or called from now on; tells the owner why, the first time."""
        if not self.alive:
            return
        self.alive = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
        self._on_end(code, text)

    def eof_received(self) -> None:
        self.end(None, "The function's process closed its channel")

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(None, "The function's process closed its channel")
