"""Time as a parameter: the event loop's in a server, moved by hand in tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")


class Timer(Protocol):
    """A callback that waits for its time."""

    def cancel(self) -> None:
        """It will not be called; harmless when it was."""


class Clock(Protocol):
    """What time it is, and a call later."""

    def now(self) -> float:
        """Seconds that only ever grow."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """`callback` is called on the event loop when `seconds` have passed."""
        ...


class LoopClock:
    """The running event loop's own time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """See Clock."""
        return self._loop.call_later(seconds, callback)


async def sleep(clock: Clock, seconds: float) -> None:
    """Returns when `seconds` have passed."""
    over = asyncio.Event()
    timer = clock.call_later(seconds, over.set)
    try:
        await over.wait()
    finally:
        timer.cancel()


async def within(clock: Clock, seconds: float, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`; TimeoutError, and `work` cancelled, when it takes longer than `seconds`."""
    task = asyncio.ensure_future(work)
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        task.cancel()

    timer = clock.call_later(seconds, expire)
    try:
        return await task
    except asyncio.CancelledError:
        if expired:
            raise TimeoutError(f"took longer than {seconds:g} s") from None
        raise
    finally:
        timer.cancel()
        task.cancel()
