"""pasta, which connects one sandbox to the network: it has detached itself, so that nobody else would see it end."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable
from pathlib import Path


class Connector:
    """Calls `on_lost` on the event loop when pasta ends and what it connects does not.

    `pid` is the first process of what `network.outside_command` started. Raises ProcessLookupError where pasta, or
    what it connects, is not there any more.
    """

    def __init__(self, pid: int, on_lost: Callable[[], None]) -> None:
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        wrapped, pasta = _find(pid)
        self._wrapped = os.pidfd_open(wrapped)
        try:
            self._pasta = os.pidfd_open(pasta)
        except BaseException:
            os.close(self._wrapped)
            raise
        self._loop.add_reader(self._pasta, self._ended)

    def _ended(self) -> None:
        self._loop.remove_reader(self._pasta)
        # At the end of an instance pasta goes last, with the namespace of processes: that is told by others.
        poll = select.poll()
        poll.register(self._wrapped, select.POLLIN)
        if not poll.poll(0):
            self._on_lost()

    def close(self) -> None:
        """Stops watching."""
        self._loop.remove_reader(self._pasta)
        os.close(self._pasta)
        os.close(self._wrapped)


def _find(pid: int) -> tuple[int, int]:
    """What runs in the network, and pasta: the first two that the init of their namespace has for children.

    No process of a function is among them, whatever it calls itself: it has an init of its own. The kernel names
    children in the order in which they came, and pasta became one when it detached itself.
    """
    try:
        init = _children(pid)[0]
        wrapped, pasta, *_ = _children(init)
    except (OSError, IndexError, ValueError):
        raise ProcessLookupError(f"nothing connects process {pid}") from None
    return wrapped, pasta


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
