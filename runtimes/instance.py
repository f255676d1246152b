"""One instance of any driver that runs the resident runner: its channel, its life, and how it ended.

What differs between drivers, where its processes live and what limits them, is a `Cell`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from clowdy.runtimes.api import (
    Application,
    Call,
    DriverUnavailable,
    Exit,
    FailureCode,
    Handler,
    Instance,
    Kind,
    Ready,
    Shape,
    StartFailed,
    StartReason,
)
from clowdy.runtimes.connection import GRACE_SECONDS, Connection
from clowdy.runtimes.inside import frames
from clowdy.runtimes.wire import Frame, dump, pack

HELLO_SECONDS = 20.0
_EXIT_SECONDS = 0.5


class Ending(Protocol):
    """A process, as far as its end goes."""

    async def wait(self, seconds: float) -> int | None:
        """The exit status (negative: a signal), or None when it has not ended within `seconds` or is not known."""
        ...


class Cell(Protocol):
    """Where the processes of one instance live."""

    @property
    def app(self) -> str:
        """The folder of the code, as the function sees it."""
        ...

    @property
    def packages(self) -> str | None:
        """The folder of the installed requirements, as the function sees it; None where it has none."""
        ...

    @property
    def process(self) -> Ending:
        """The first process."""
        ...

    @property
    def offline(self) -> bool:
        """Whether nothing but its own loopback can be reached from it."""
        ...

    def fill(self, application: Application) -> None:
        """Puts the code in its place and sets the limits; blocks, called once, in a thread."""
        ...

    def watch_memory(self, on_short: Callable[[], None]) -> None:
        """Begins to call `on_short` on the event loop whenever memory may have run out."""
        ...

    def out_of_memory(self) -> bool:
        """Whether a process of it was killed because memory ran out."""
        ...

    @property
    def throttled(self) -> bool:
        """See `Instance.throttled`."""
        ...

    async def destroy(self) -> None:
        """Kills every process, returns when they are gone, and removes what belonged to them."""
        ...


class RunnerInstance:
    """Implements `Instance` over a cell and the channel to its runner."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        cell: Cell,
        output: int,
        on_gone: Callable[[RunnerInstance], None],
    ) -> None:
        self._id = name
        self._kind = kind
        self._cell = cell
        self._output = output
        self._on_gone = on_gone
        self._channel: socket.socket | None = None
        self._loop = asyncio.get_running_loop()
        self._connection = Connection(self._loop, self._on_start_frame, self._on_end, self._on_settled)
        self._hello: asyncio.Future[str] = self._loop.create_future()
        self._start_log = bytearray()
        self._answers: asyncio.Queue[tuple[Frame, str] | StartFailed] = asyncio.Queue()
        self._ending: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()
        self._taken = False
        self._answers_due = 0
        self._asks_to_cancel = False
        self.is_application = False
        self._cell_ran_out = False
        self.on_exit: Callable[[Instance, Exit], None] | None = None
        self.on_settled: Callable[[Instance], None] | None = None
        self.on_frame: Callable[[Frame], bool] = lambda frame: False
        """Takes what a parent says; False for what is no frame of its."""

    @property
    def id(self) -> str:
        return self._id

    @property
    def kind(self) -> Kind:
        return self._kind

    @property
    def alive(self) -> bool:
        return self._connection.alive

    @property
    def busy(self) -> int:
        return self._connection.busy

    @property
    def late(self) -> int:
        return self._connection.late

    @property
    def throttled(self) -> bool:
        return self._cell.throttled

    def call(self, call: Call) -> int:
        return self._connection.call(call)

    def credit(self, call_id: int, size: int) -> None:
        self._connection.credit(call_id, size)

    def cancel(self, call_id: int) -> None:
        connection = self._connection
        # What a plain handler streams looks whether it may end with each piece.
        if self._asks_to_cancel or connection.streams(call_id):
            connection.cancel(call_id, GRACE_SECONDS)
        elif connection.runs(call_id):
            connection.end(FailureCode.CRASHED, "The client of a call left, and its instance ended with it")

    async def greeted(self) -> str:
        """Waits until the runner is there; its Python's version. Raises DriverUnavailable."""
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                return await asyncio.shield(self._hello)
        except TimeoutError:
            self._connection.end(FailureCode.TIMEOUT, "the runner did not start")
            await self._gone.wait()
            raise DriverUnavailable(f"the runner did not start within {HELLO_SECONDS:g} seconds") from None
        except asyncio.CancelledError:
            await self.kill()
            raise

    async def take(self, application: Application, timeout_seconds: float) -> Ready:
        return await self._start(application, timeout_seconds, parent=False)

    async def prepare(self, application: Application, timeout_seconds: float) -> Ready:
        """Becomes a parent of `application`: takes frames and descriptors by `send_with` from then on, and no call.

        Raises as `take` does, and with NOT_FORKABLE.
        """
        return await self._start(application, timeout_seconds, parent=True)

    async def _start(self, application: Application, timeout_seconds: float, *, parent: bool) -> Ready:
        head = {**self._start_head(application), "handler": list(application.handler), "parent": parent}

        async def begin() -> None:
            await self._prepare(application)
            self._connection.send(frames.START, 0, dump(head))

        return await self.become(begin, timeout_seconds)

    async def become(self, begin: Callable[[], Awaitable[None]], timeout_seconds: float) -> Ready:
        """Waits for its start, which `begin` brings about; raises StartFailed, after which it is dead."""
        try:
            async with asyncio.timeout(timeout_seconds):
                self._answers_due = 1
                await begin()
                ready = self._outcome(*await self._answer())
        except TimeoutError:
            raise await self._timed_out(timeout_seconds) from None
        except BaseException:
            await self.kill()
            raise
        if isinstance(ready, StartFailed):
            await self.kill()
            raise ready
        self.is_application = ready.shape in (Shape.ASGI, Shape.WSGI)
        self._asks_to_cancel = ready.shape in (Shape.ASYNC_HANDLER, Shape.ASYNC_GENERATOR, Shape.ASGI)
        return ready

    async def probe(
        self,
        application: Application,
        handlers: Sequence[Handler],
        timeout_seconds: float,
        tell: Callable[[Ready | StartFailed], None],
    ) -> None:
        head = {**self._start_head(application), "handlers": [list(handler) for handler in handlers]}
        try:
            await self._prepare(application)
            self._answers_due = len(handlers)
            self._connection.send(frames.PROBE, 0, dump(head))
            for _ in handlers:
                try:
                    async with asyncio.timeout(timeout_seconds):
                        result = self._outcome(*await self._answer())
                except TimeoutError:
                    tell(await self._timed_out(timeout_seconds))
                    return
                except StartFailed as error:
                    tell(error)
                    return
                tell(result)
        finally:
            await self.kill()

    async def attach(self, channel: socket.socket) -> None:
        """Begins to read the channel."""
        self._channel = channel
        await self._loop.create_unix_connection(lambda: self._connection, sock=channel)

    def send_with(self, kind: int, head: bytes, descriptors: Sequence[int]) -> None:
        """Writes one frame that carries descriptors, at once; raises OSError where there is no room or nobody."""
        if self._channel is None or not self.alive:
            raise BrokenPipeError("the instance has ended")
        data = pack(kind, 0, head)
        if socket.send_fds(self._channel, [data], list(descriptors)) < len(data):
            raise BlockingIOError("the channel is full")

    def fail(self, text: str) -> None:
        """Ends it as crashed, for a reason that was found from outside."""
        self._connection.end(FailureCode.CRASHED, text)

    async def kill(self) -> None:
        self._connection.end(None, "")
        await asyncio.shield(self._gone.wait())

    def _start_head(self, application: Application) -> dict[str, Any]:
        if self._taken:
            raise RuntimeError(f"instance {self._id} was taken before")
        self._taken = True
        env = {
            "HOME": "/tmp",  # noqa: S108  (private to the sandbox)
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
        }
        return {
            "app": self._cell.app,
            "packages": self._cell.packages,
            "sources": list(application.sources),
            "type": application.type.value,
            "offline": self._cell.offline,
            "env": {**env, **application.env},
            "context": {
                "function_name": application.function,
                "function_version": application.version,
                "project": application.project,
                "runtime": "python",
            },
        }

    async def _prepare(self, application: Application) -> None:
        try:
            await self._loop.run_in_executor(None, self._cell.fill, application)
        except DriverUnavailable:
            raise
        except Exception as error:  # whatever reading a repository or writing a disk can raise
            raise StartFailed(StartReason.RUNTIME, f"The code could not be put in place: {error}") from error
        self.watch_memory()

    def watch_memory(self) -> None:
        """Begins to look whether its memory runs out."""
        self._cell.watch_memory(self._on_memory_short)

    async def _answer(self) -> tuple[Frame, str]:
        """What answers a start, with what was printed before it; raises StartFailed when the instance ends instead."""
        answer = await self._answers.get()
        if isinstance(answer, StartFailed):
            raise answer
        return answer

    def _outcome(self, answer: Frame, log: str) -> Ready | StartFailed:
        try:
            said = json.loads(answer.head)
            if "shape" in said:
                return Ready(Shape(said["shape"]), float(said["import_ms"]), log)
            module = said["module"]
            return StartFailed(
                StartReason(said["reason"]), str(said["text"]), module=None if module is None else str(module), log=log
            )
        except (ValueError, KeyError, TypeError):
            return StartFailed(StartReason.CRASHED, "The result channel holds what the runner did not write", log=log)

    async def _timed_out(self, seconds: float) -> StartFailed:
        """Ends an instance whose start took too long; the exception to raise for it."""
        log = self._start_log.decode(errors="replace")
        self._connection.end(FailureCode.TIMEOUT, "The start took too long")
        await self._gone.wait()
        if self._cell_ran_out:
            return StartFailed(StartReason.OUT_OF_MEMORY, "The function ran out of memory while it started", log=log)
        return StartFailed(StartReason.TIMEOUT, f"Function did not start within {seconds:g} seconds", log=log)

    def _on_start_frame(self, frame: Frame) -> None:
        if frame.kind == frames.LOG:
            room = frames.LOG_LIMIT + len(frames.LOG_MARK) - len(self._start_log)
            self._start_log += frame.body[: max(room, 0)]
        elif frame.kind == frames.HELLO and not self._hello.done():
            self._hello.set_result(frame.body[:64].decode(errors="replace"))
        elif frame.kind in (frames.READY, frames.START_FAILED, frames.PROBED) and self._answers_due > 0:
            self._answers_due -= 1
            self._answers.put_nowait((frame, self._start_log.decode(errors="replace")))
            self._start_log.clear()
        elif not self.on_frame(frame):
            self._connection.end(FailureCode.CRASHED, "The result channel holds what the runner did not write")

    def _on_settled(self) -> None:
        if self.on_settled is not None:
            self.on_settled(self)

    def _on_memory_short(self) -> None:
        """Memory may have run out: from now on no answer is believed before that is known."""
        self._connection.suspicion = self._ran_out
        self._ran_out()

    def _ran_out(self) -> bool:
        if self.alive and self._cell.out_of_memory():
            self._connection.end(FailureCode.OUT_OF_MEMORY, _OUT_OF_MEMORY)
        return not self.alive

    def _on_end(self, code: FailureCode | None, text: str) -> None:
        self._ending = self._loop.create_task(self._finish(code, text))

    async def _finish(self, code: FailureCode | None, text: str) -> None:
        """From the end of the channel to the end of the last process: who is told what, in this order."""
        if code is None and text:
            code, text = FailureCode.CRASHED, _ending_of(await self._cell.process.wait(_EXIT_SECONDS), text)
        if code is FailureCode.CRASHED and self._cell.out_of_memory():
            code, text = FailureCode.OUT_OF_MEMORY, _OUT_OF_MEMORY
        self._cell_ran_out = code is FailureCode.OUT_OF_MEMORY or self._cell.out_of_memory()
        last_words = self._last_words()
        self._connection.log_all(last_words)
        self._connection.fail_all(code or FailureCode.CRASHED, text or "The instance was ended while it had calls")
        await self._cell.destroy()
        os.close(self._output)
        self._tell_start(code, text, last_words.decode(errors="replace"))
        self._on_gone(self)
        self._gone.set()
        if self.on_exit is not None:
            self.on_exit(self, Exit(code, text))

    def _tell_start(self, code: FailureCode | None, text: str, last_words: str) -> None:
        if not self._hello.done():
            said = last_words.strip() or text or "the instance was ended"
            self._hello.set_exception(DriverUnavailable(said))
            self._hello.exception()  # whoever waits gets it; nobody has to
        reason = StartReason.OUT_OF_MEMORY if code is FailureCode.OUT_OF_MEMORY else StartReason.CRASHED
        log = self._start_log.decode(errors="replace") + last_words
        self._answers.put_nowait(StartFailed(reason, text or "The instance was ended while it started", log=log))

    def _last_words(self) -> bytes:
        """What lies in the pipe behind descriptors 1 and 2 after the runner's end."""
        try:
            return os.read(self._output, frames.TEXT_LIMIT)
        except OSError:
            return b""


_OUT_OF_MEMORY = "The function ran out of memory"


def _ending_of(status: int | None, text: str) -> str:
    """In words how the process ended. bubblewrap reports a signal as 128 and its number, as shells do."""
    if status is None:
        return text
    number = -status if status < 0 else status - 128
    if 0 < number < 65 and status != 0:
        try:
            return f"The function's process was ended by {signal.Signals(number).name}"
        except ValueError:
            pass
    return f"The function's process ended with exit status {status}"
