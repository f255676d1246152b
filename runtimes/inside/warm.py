"""Runs, before a fork, what the runner itself runs before an application's first call.

Python counts and specialises code where it lies while it runs the first times, which writes to it: memory that is
written to after the fork is each child's own. What has run often enough before stays shared. It is the runner's code
and asyncio's alone: a framework may have libraries in front of it that tell others of calls, and nobody made these.
"""

from __future__ import annotations

import asyncio
import logging

from .asgi import Application

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TIMES = 10


def warm_up() -> None:
    """Starts applications of no content, unless loops here are not asyncio's own."""
    if type(asyncio.get_event_loop_policy()).__module__ != asyncio.unix_events.__name__:
        # Another kind may open files that last, and then nothing could be forked.
        return
    logger = logging.getLogger("asyncio")
    disabled, logger.disabled = logger.disabled, True
    try:
        for _ in range(_TIMES):
            application = Application(_nothing)
            application.start()
            application.loop.run_until_complete(asyncio.sleep(0))
            application.loop.close()
    finally:
        logger.disabled = disabled
        asyncio.set_event_loop(None)


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
