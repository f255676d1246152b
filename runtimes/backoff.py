"""How long to leave alone what keeps failing."""

from __future__ import annotations


class Backoff:
    """Lets the first failures pass, then doubles the pause after each, up to a limit."""

    def __init__(self, *, free: int = 2, first_seconds: float = 1.0, most_seconds: float = 30.0) -> None:
        self._free = free
        self._first = first_seconds
        self._most = most_seconds
        self.failures = 0
        self._last = 0.0
        self._until = 0.0

    def failed(self, now: float) -> None:
        """It failed once more."""
        self.failures += 1
        self._last = now
        beyond = self.failures - self._free - 1
        if beyond >= 0:
            self._until = now + min(self._most, self._first * 2.0 ** min(beyond, 30))

    def worked(self) -> None:
        """It worked: all is forgotten."""
        self.failures = 0
        self._until = 0.0

    def blocked(self, now: float) -> bool:
        """Whether it is too early to try again."""
        return now < self._until

    def forgotten(self, now: float, seconds: float) -> bool:
        """Whether there is nothing to remember: no failure, or none since `seconds` after the last pause."""
        return not self.failures or now >= max(self._until, self._last) + seconds
