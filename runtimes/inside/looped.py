"""Calls on one asyncio loop that lives as long as the instance: several at once where the server sends them so."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

from . import frames
from .channel import Gone, joined
from .codec import decode
from .flow import Flow, split
from .pieces import Pieces
from .resident import arguments, end_if_forked, failure, result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from typing import Any

    from .channel import Body, Channel
    from .loading import Function
    from .logs import CallLog, Logs

_log: ContextVar[CallLog | None] = ContextVar("log", default=None)
_loop: asyncio.AbstractEventLoop | None = None


def run(value: Awaitable[Any]) -> Any:
    """What an awaitable that a plain handler returned comes to."""
    global _loop
    if _loop is None:
        _loop = asyncio.new_event_loop()
        asyncio.set_event_loop(_loop)

    async def wait() -> Any:
        return await value

    return _loop.run_until_complete(wait())


def in_turn(values: AsyncIterator[Any]) -> Iterator[Any]:
    """What an async generator that a plain handler returned yields, one after the other; closes it at the end."""
    try:
        while True:
            try:
                value = run(values.__anext__())
            except StopAsyncIteration:
                return
            yield value
    finally:
        close = getattr(values, "aclose", None)
        if close is not None:
            run(close())


class LoopFlow(Flow):
    """A flow that waits for its caller without holding up other calls."""

    __slots__ = ("_waiter",)

    def __init__(self, channel: Channel, call: int) -> None:
        super().__init__(channel, call)
        self._waiter: asyncio.Future[None] | None = None

    async def write(self, data: bytes) -> None:
        """Sends `data`, waiting while the caller takes nothing; raises Gone."""
        for piece in split(data):
            # Also without need: a stream that never waits must not keep the loop from its channel.
            await asyncio.sleep(0)
            while self.room <= 0 and not self.gone:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
            if self.gone:
                raise Gone("the client has left")
            self.put(piece)

    def credit(self, body: bytes | bytearray) -> None:
        super().credit(body)
        self._wake()

    def cancel(self) -> None:
        super().cancel()
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class Turn:
    """One call on the loop."""

    __slots__ = ("_desk", "begun", "body", "flow", "head", "log", "number", "on_left", "over", "task")

    def __init__(self, desk: Desk, number: int, head: bytes, body: Body) -> None:
        self._desk = desk
        self.number = number
        self.head = head
        self.body = body
        self.log = desk.logs.begin(number)
        self.flow = LoopFlow(desk.channel, number)
        self.begun = False
        self.over = False
        self.on_left: Callable[[], None] | None = None
        self.task: asyncio.Task[None] | None = None

    def finish(self, frame: bytes) -> None:
        """Sends the last frame of the call after the rest of its log."""
        if self.over:
            return
        self.over = True
        self._desk.running.pop(self.number, None)
        end_if_forked(self._desk.logs)
        self._desk.channel.send(self._desk.logs.end(self.log) + frame)

    def fail(self, error: BaseException) -> None:
        """Ends the call with the reason."""
        if self.flow.gone and isinstance(error, asyncio.CancelledError):
            # It was asked to end and did: nothing that its author has to know.
            error = Gone("the client has left")
        if not self.over:
            self.finish(failure(self.log, self.number, error))

    def cancel(self, late: bool) -> None:
        """Nobody waits for the answer any more. An application is told and has time to end, unless that is over."""
        self.flow.cancel()
        if self._desk.patience and not late:
            if self.on_left is not None:
                self.on_left()
            asyncio.get_running_loop().call_later(self._desk.patience, self._give_up)
        else:
            self._give_up()

    def _give_up(self) -> None:
        if self.task is None or self.over:
            return
        self.task.cancel()
        if not self.begun:
            # A task that is cancelled before its first step takes none, and could not say that it has ended.
            self.fail(Gone("the client has left"))


class Desk:
    """Takes the calls of an instance from its channel."""

    def __init__(
        self, channel: Channel, logs: Logs, respond: Callable[[Turn], Awaitable[None]], patience: float = 0.0
    ) -> None:
        """`patience` is what a call may take that was told of its client's leaving, before it is cancelled."""
        self.patience = patience
        self.channel = channel
        self.logs = logs
        self.running: dict[int, Turn] = {}
        self._respond = respond
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answers calls until the process is killed."""
        self.logs.current = _log.get
        loop.add_reader(self.channel.descriptor, self._readable, loop)
        loop.run_forever()

    def _readable(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            kind, number, head, body = self.channel.read()
            if kind == frames.CALL:
                turn = self.running[number] = Turn(self, number, head, body)
                turn.task = loop.create_task(self._answer(turn))
                # A loop holds its tasks weakly, and some go on after their answer.
                self._tasks.add(turn.task)
                turn.task.add_done_callback(self._tasks.discard)
            elif (running := self.running.get(number)) is not None:
                if kind == frames.CREDIT:
                    running.flow.credit(joined(body))
                elif kind == frames.CANCEL:
                    running.cancel(body == frames.LATE)
            if not self.channel.waiting:
                return

    async def _answer(self, turn: Turn) -> None:
        turn.begun = True
        _log.set(turn.log)
        try:
            await self._respond(turn)
        except BaseException as error:  # noqa: BLE001  (also SystemExit, which would end the loop)
            turn.fail(error)


def serve(channel: Channel, logs: Logs, function: Function, names: dict[str, Any]) -> None:
    """Answers calls of an async handler until the process is killed."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    async def respond(turn: Turn) -> None:
        said = decode(turn.head.decode())
        event, context = arguments(said, turn.body, names)
        value = function.call(event, context) if function.arguments == 2 else function.call(event)
        if hasattr(value, "__await__"):
            value = await value
        if hasattr(value, "__anext__") or hasattr(value, "__next__"):
            await _pour(turn.flow, value)
            turn.finish(frames.pack(frames.END, turn.number))
        else:
            turn.finish(result(said, turn.number, value))

    Desk(channel, logs, respond).serve(loop)


async def _pour(flow: LoopFlow, values: Any) -> None:
    """Sends what a generator of either kind yields as it comes, and closes it in every case; raises Gone."""
    pieces = Pieces()

    async def send(value: Any) -> None:
        piece = pieces.add(value)
        if not flow.begun and pieces.head is not None:
            flow.begin(pieces.head)
        await flow.write(piece)

    try:
        if hasattr(values, "__anext__"):
            async for value in values:
                await send(value)
        else:
            for value in values:
                await send(value)
    finally:
        if hasattr(values, "aclose"):
            await values.aclose()
        elif hasattr(values, "close"):
            values.close()
    if not flow.begun:
        flow.begin(pieces.finish())
