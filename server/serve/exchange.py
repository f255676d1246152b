"""One call of a function, from the instance that takes it to its record: the sink of everything it says."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from clowdy.runtimes.api import Application, Call, FailureCode, Instance
from clowdy.runtimes.fleet import Lease
from clowdy.runtimes.inside.frames import WINDOW
from clowdy.server.serve.answers import PLAIN, AnswerHead, BadAnswer, read_head
from clowdy.server.serve.table import Mount, ProjectTable, Target

ANSWER_LIMIT = 6 * 1024 * 1024
"""What an answer that does not stream may have, in bytes."""

LARGE_BODY = 1024 * 1024
"""A request's body above this is handed to the instance in the parts in which it came, so that it is there once."""

RECORDED_BODY = 128 * 1024
"""What of such a body stays for the record, in bytes: more than it keeps, so that it is seen to be cut."""

KEPT_BYTES = 64 * 1024
"""How much of a stream is kept for its record, give or take a piece."""

SETTLE_SECONDS = 1.0
"""How long an answer waits for the end of a call that was cancelled: what is printed until then is in its record."""

OVERFLOW = 8 * WINDOW
"""What an instance that does not wait may have sent before its call is ended."""


class Leasing(Protocol):
    """What calls need of the pool."""

    def lease(self, application: Application) -> Instance | None:
        """An instance at once, or None."""
        ...

    async def acquire(self, application: Application) -> Lease:
        """An instance, started or waited for if need be."""
        ...

    def release(self, instance: Instance) -> None:
        """The call is over."""
        ...


class Failure(NamedTuple):
    """How a call failed. `text` is for its author alone."""

    code: str
    text: str


class CallRecord(NamedTuple):
    """Everything that is remembered of a call. `event` and `body` are what the instance got, `answer` what it said.

    `status` is `success`, `error` or `timeout`; `http_status` the number that was sent, None for direct calls and
    where nothing was sent; `head` of the event and of the answer are JSON as on the wire.
    """

    id: str
    at: float
    project: ProjectTable
    target: Target
    trigger: str
    method: str | None
    path: str | None
    status: str
    http_status: int | None
    code: str | None
    duration_ms: float
    cold_start: bool
    event: bytes
    body: bytes
    answer_head: bytes
    answer: bytes
    log: bytes
    error: str


Ledger = Callable[[Sequence[CallRecord]], None]
"""Keeps records; returns when they would survive the end of this process. Must neither wait nor raise."""


class Exchange:
    """One call of `target`. Implements `CallSink`.

    `tell` adds to the event what applications are told besides; calls without it are none that they take.
    Once it has begun to be answered, `failure` or `answer` is set; with `streams`, the answer comes in pieces.
    Whoever answers the caller sets `sent_status` and then calls `record`. One that is cancelled is heard, and has its
    instance, until the instance says that it is over; of its answer nothing is taken.
    """

    __slots__ = (
        "_call_id",
        "_cancelled",
        "_instance",
        "_ledger",
        "_logs",
        "_over",
        "_owed",
        "_parts",
        "_pieces",
        "_pool",
        "_recorded",
        "_started",
        "_unsent",
        "_waiter",
        "answer",
        "answer_bytes",
        "at",
        "body",
        "cold",
        "event",
        "failure",
        "method",
        "mount",
        "on_begun",
        "on_cut",
        "path",
        "project",
        "raw_head",
        "request_id",
        "sent_status",
        "streams",
        "target",
        "tell",
        "trigger",
    )

    def __init__(
        self,
        pool: Leasing,
        ledger: Ledger,
        project: ProjectTable,
        target: Target,
        request_id: str,
        trigger: str,
        method: str | None,
        path: str | None,
        event: bytes,
        mount: Mount | None = None,
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self.project = project
        self.target = target
        self.request_id = request_id
        self.trigger = trigger
        self.method = method
        self.path = path
        self.event = event
        self.mount = mount
        self.body = b""
        self.at = time.time()
        self.cold = False
        self.answer: AnswerHead | None = None
        self.answer_bytes = b""
        self.raw_head = b""
        self.failure: Failure | None = None
        self.streams = False
        self.sent_status: int | None = None
        self.on_begun: Callable[[Exchange], None] | None = None
        self.on_cut: Callable[[], None] | None = None
        self.tell: Callable[[bytes], bytes] | None = None
        self._started = 0.0
        self._instance: Instance | None = None
        self._call_id = 0
        self._logs: list[bytes] = []
        self._parts: list[bytes] | None = None
        self._pieces: deque[bytes] = deque()
        self._unsent = 0
        self._waiter: asyncio.Future[None] | None = None
        self._over = False
        self._cancelled = False
        self._owed = False
        self._recorded = False

    def take_body(self, parts: list[bytes]) -> None:
        """The request's body. Of a large one only what its record needs is kept once the instance has it."""
        if sum(map(len, parts)) <= LARGE_BODY:
            self.body = b"".join(parts)
            return
        self._parts = parts
        kept = bytearray()
        for part in parts:
            kept += part[: RECORDED_BODY - len(kept)]
            if len(kept) == RECORDED_BODY:
                break
        self.body = bytes(kept)

    def start(self, instance: Instance, timeout_seconds: float, *, cold: bool = False) -> None:
        """Hands the call to a leased instance, which goes back to the pool when it is over."""
        self._instance = instance
        self.cold = cold
        self._started = time.perf_counter()
        parts, self._parts = self._parts, None
        call_id = instance.call(Call(self.event, self.body if parts is None else parts, timeout_seconds, self))
        self._call_id = call_id

    # What the instance says.

    def log(self, text: bytes) -> None:
        """More of what the call printed."""
        self._logs.append(text)

    def result(self, head: bytes, body: bytes) -> None:
        """The whole answer."""
        self._ended()
        if self._cancelled:
            return
        self.raw_head = head
        self.answer_bytes = body
        try:
            if len(body) > ANSWER_LIMIT:
                raise BadAnswer(f"the answer has {len(body)} bytes, over {ANSWER_LIMIT // 1024**2} MB: stream it")
            self.answer = self._read_head(head) if head else PLAIN
        except BadAnswer as bad:
            self.failure = Failure("bad_response", str(bad))
        self._begun()

    def head(self, head: bytes) -> None:
        """Status and headers of an answer in pieces."""
        if self._cancelled:
            return
        self.raw_head = head
        try:
            self.answer = self._read_head(head)
            self.streams = True
        except BadAnswer as bad:
            self._stop("bad_response", str(bad))
        self._begun()

    def piece(self, body: bytes) -> None:
        """More of its body."""
        if self._cancelled:
            return
        self._pieces.append(body)
        if len(self.answer_bytes) <= KEPT_BYTES:
            self.answer_bytes += body
        self._unsent += len(body)
        if self._unsent > OVERFLOW:
            self._stop("bad_response", "the function streams faster than its caller reads, and does not wait")
        self._wake()

    def end(self) -> None:
        """Its end."""
        self._ended()
        self._wake()

    def failed(self, code: FailureCode, text: str) -> None:
        """The call failed, before its answer began or in the middle of it."""
        self._ended()
        if self._cancelled:
            return
        self.failure = Failure(code.value, text)
        if self.on_cut is not None:
            self.on_cut()
        self._begun()

    def _read_head(self, head: bytes) -> AnswerHead:
        return read_head(head, as_bytes=self._instance is not None and self._instance.is_application)

    def _begun(self) -> None:
        if self.on_begun is not None:
            self.on_begun(self)
        else:
            self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _ended(self) -> None:
        if not self._over:
            self._over = True
            if self._instance is not None:
                self._pool.release(self._instance)
            if self._owed:
                self._write(gone=True)
            if self._cancelled:
                self._wake()

    def _stop(self, code: str, text: str) -> None:
        """Ends a call whose instance says what cannot be."""
        self.failure = Failure(code, text)
        self.cancel()

    # What the caller does.

    async def begun(self) -> None:
        """Returns when `failure` or `answer` is set."""
        while self.answer is None and self.failure is None:
            await self._change()

    async def next_piece(self) -> bytes | None:
        """More of a stream, None at its end, when it failed or was cancelled."""
        while not self._pieces:
            if self._over or self._cancelled:
                return None
            await self._change()
        piece = b"".join(self._pieces) if len(self._pieces) > 1 else self._pieces[0]
        self._pieces.clear()
        self._unsent -= len(piece)
        return piece

    async def whole(self) -> bool:
        """Gathers a stream into `answer_bytes`; False when it is larger than an answer may be, or failed."""
        pieces: list[bytes] = []
        size = 0
        while (piece := await self.next_piece()) is not None:
            pieces.append(piece)
            size += len(piece)
            self.taken(len(piece))
            if size > ANSWER_LIMIT:
                self.fail("bad_response", f"the stream is over {ANSWER_LIMIT // 1024**2} MB: call it by a route")
                self.cancel()
                await self.settle()
                return False
        if self.failure is None:
            self.answer_bytes = b"".join(pieces)
        return self.failure is None

    def taken(self, size: int) -> None:
        """The caller's connection took `size` bytes of the stream: the instance may send as many more."""
        if self._instance is not None and not self._over:
            self._instance.credit(self._call_id, size)

    async def _change(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def cancel(self) -> None:
        """Asks the call to end; nothing more of its answer is taken. Harmless when it is over."""
        if self._over or self._cancelled:
            return
        self._cancelled = True
        if self._instance is None:
            self._ended()
        else:
            self._instance.cancel(self._call_id)
        self._wake()

    async def settle(self) -> None:
        """Waits until a call that was cancelled is over, though not for long: its caller waits as well."""
        if self._over or not self._cancelled:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                while not self._over:
                    await self._change()

    def fail(self, code: str, text: str) -> None:
        """The answer cannot be used, for a reason that its reader found."""
        self.failure = Failure(code, text)

    # What is remembered.

    @property
    def duration_ms(self) -> float:
        """Time since an instance was given the call, 0 when none was."""
        return (time.perf_counter() - self._started) * 1000 if self._started else 0.0

    def record(self, *, gone: bool = False) -> None:
        """Writes the call down, once, with `sent_status`.

        `gone`: the caller left before the answer was over, so that this can wait for the end of the call.
        """
        if not gone or self._over:
            self._write(gone=gone)
        else:
            self._owed = True

    def _write(self, *, gone: bool) -> None:
        record = self.close(gone=gone)
        if record is not None:
            self._ledger((record,))

    def close(self, *, gone: bool = False) -> CallRecord | None:
        """What is to be written down of the call; None when that was asked before."""
        if self._recorded:
            return None
        self._recorded = True
        failure = self.failure
        if failure is None:
            code, status, error = None, "error" if gone else "success", "The client left" if gone else ""
        else:
            code, error = failure
            status = "timeout" if code == "timeout" else "error"
        return CallRecord(
            self.request_id,
            self.at,
            self.project,
            self.target,
            self.trigger,
            self.method,
            self.path,
            status,
            self.sent_status,
            code,
            self.duration_ms,
            self.cold,
            self.event,
            self.body,
            self.raw_head,
            self.answer_bytes,
            b"".join(self._logs),
            error,
        )
