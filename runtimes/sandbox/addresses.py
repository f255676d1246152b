"""Tells when the addresses or routes of this machine change: the kernel's netlink on the event loop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

# RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE of <linux/rtnetlink.h>.
_GROUPS = 0x10 | 0x40 | 0x100 | 0x400


class AddressWatch:
    """Calls `follow` after one change or several at once, and again when it has returned and more has changed."""

    def __init__(self, follow: Callable[[], Awaitable[None]]) -> None:
        self._follow = follow
        self._socket: socket.socket | None = None
        self._work: asyncio.Task[None] | None = None
        self._again = False

    def open(self) -> None:
        """Begins to listen; raises OSError."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._socket.bind((0, _GROUPS))
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def _readable(self) -> None:
        assert self._socket is not None
        while True:
            try:
                self._socket.recv(65536)
            except BlockingIOError:
                break
            except OSError:
                # More happened than was read in time, which is a change as well.
                continue
        self._again = True
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._work_off())

    async def _work_off(self) -> None:
        try:
            while self._again:
                self._again = False
                await self._follow()
        except Exception:
            log.exception("the rules of functions with a network could not be brought up to date")
        finally:
            self._work = None

    async def close(self) -> None:
        """Stops."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        work, self._work = self._work, None
        if work is not None:
            work.cancel()
            await asyncio.wait([work])
