"""Tells when the addresses or routes of this machine change: the kernel's netlink on the event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

# RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE of <linux/rtnetlink.h>.
_GROUPS = 0x10 | 0x40 | 0x100 | 0x400


class AddressWatch:
    """Calls `on_change` on the event loop after one change or several at once."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._socket: socket.socket | None = None

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
        self._on_change()

    def close(self) -> None:
        """Stops."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
