"""How many wrong tokens one address may try."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable

from clowdy.server.errors import NotAuthenticated

ATTEMPTS = 20
SECONDS_PER_ATTEMPT = 3.0
ADDRESSES = 10_000


class TooManyAttempts(NotAuthenticated):
    """Too many wrong tokens from this address: wait a minute"""

    retry_after_seconds = 60


class Failures:
    """Counts wrong tokens per address: `ATTEMPTS` at once, then one every `SECONDS_PER_ATTEMPT`.

    IPv6 addresses count by their /64, which one customer has for himself. What is remembered is bounded: with more
    addresses than that the one that failed longest ago is forgotten.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # When the address will be as if it had never failed: each failure adds its seconds to this.
        self._clean_at: OrderedDict[str, float] = OrderedDict()

    def exhausted(self, address: str | None) -> bool:
        """Whether the address has to wait before its next try."""
        remaining = self._clean_at.get(_network(address), 0.0) - self._clock()
        return remaining > (ATTEMPTS - 1) * SECONDS_PER_ATTEMPT

    def add(self, address: str | None) -> None:
        """The address tried a wrong token."""
        key, now = _network(address), self._clock()
        # What is refused anyway must not push the end of the wait further away.
        latest = now + ATTEMPTS * SECONDS_PER_ATTEMPT
        self._clean_at[key] = min(max(self._clean_at.get(key, now), now) + SECONDS_PER_ATTEMPT, latest)
        self._clean_at.move_to_end(key)
        if len(self._clean_at) > ADDRESSES:
            self._clean_at.popitem(last=False)


def _network(address: str | None) -> str:
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return address or ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed.packed[:8] + bytes(8), 64)))
