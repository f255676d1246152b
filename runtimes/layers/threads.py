"""Work that is not cut off in the middle, such as that of a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Result = TypeVar("Result")


async def away(work: Callable[[], Result]) -> Result:
    """The result of `work`, on a thread of its own. Who is cancelled meanwhile goes on only when it has ended.

    A thread cannot be cancelled: what it still does to a folder must not meet the clearing up after it.
    """
    return await whole(asyncio.get_running_loop().run_in_executor(None, work))


async def whole(work: Awaitable[Result]) -> Result:
    """The result of `work`. Who is cancelled meanwhile goes on only when it has ended."""
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue
        if not future.cancelled():
            future.exception()
        raise
