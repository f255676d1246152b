"""Background work with an owner: nothing is forgotten by the garbage collector, and no failure goes unseen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

Result = TypeVar("Result")

log = logging.getLogger(__name__)


class Tasks:
    """The background tasks of one owner, ended together with it."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(
        self, work: Coroutine[Any, Any, Result], expected: tuple[type[Exception], ...] = ()
    ) -> asyncio.Task[Result]:
        """Runs `work` until it ends; an exception is logged unless it is one of `expected`."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(partial(self._ended, expected))
        return task

    def _ended(self, expected: tuple[type[Exception], ...], task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, expected):
            log.error("background work failed: %r", error, exc_info=error)

    async def settle(self) -> None:
        """Returns when everything that was spawned so far, and what that spawned, has ended."""
        while self._running:
            await asyncio.wait(tuple(self._running))

    async def close(self) -> None:
        """Cancels what runs and returns when it has ended."""
        while self._running:
            for task in tuple(self._running):
                task.cancel()
            await asyncio.wait(tuple(self._running))
