"""What was begun on a thread is over before anything else happens."""

from __future__ import annotations

import asyncio
import threading

import pytest

from clowdy.runtimes.layers.threads import away


async def test_the_result_and_the_error_of_a_thread_come_back() -> None:
    assert await away(lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        await away(lambda: 1 // 0)


async def test_who_is_cancelled_waits_for_the_thread_however_often() -> None:
    go = threading.Event()
    task = asyncio.create_task(away(go.wait))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
