"""How many connections each address has: one client must not take all that the server can have open."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

CONNECTIONS_PER_ADDRESS = 1_000


class Crowd:
    """Counts connections. Addresses for which `is_proxy` holds stand for many clients, and have no limit."""

    def __init__(self, limit: int = CONNECTIONS_PER_ADDRESS, is_proxy: Callable[[str], bool] = lambda _: False) -> None:
        self._limit = limit
        self._is_proxy = is_proxy
        self._present: dict[str, int] = {}

    def enter(self, address: str) -> bool:
        """Counts a connection and says True, or says False when `address` has too many already."""
        origin = _origin(address)
        present = self._present.get(origin, 0)
        if present >= self._limit and not self._is_proxy(address):
            return False
        self._present[origin] = present + 1
        return True

    def leave(self, address: str) -> None:
        """A connection that was counted is gone."""
        origin = _origin(address)
        present = self._present.get(origin, 0)
        if present > 1:
            self._present[origin] = present - 1
        else:
            self._present.pop(origin, None)


def _origin(address: str) -> str:
    """What stands for one client: of version 6 the network, since each has 2**64 addresses."""
    if ":" not in address:
        return address
    parsed = ipaddress.IPv6Address(address.partition("%")[0])
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
