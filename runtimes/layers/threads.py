"""Work that blocks, on a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


async def away(work: Callable[[], Result]) -> Result:
    """The result of `work`. Who is cancelled meanwhile goes on only when it has ended.

    A thread cannot be cancelled: what it still does to a folder must not meet the clearing up after it.
    """
    future = asyncio.get_running_loop().run_in_executor(None, work)
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
