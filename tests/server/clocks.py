"""Time as a value that tests move."""

from __future__ import annotations


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        """Lets `seconds` pass."""
        self.now += seconds
