"""Ids of calls: what `X-Request-Id` carries and the log is looked up by."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from clowdy.server.errors import Invalid

TICKS = 1 << 16
"""A second has this many ids; 12 hex digits hold 32 bits of seconds since 1970 and 16 of these."""


class CallIds:
    """Ids that grow with time, so that the newest call has the highest id.

    The log is written at the end of its tables alone, and a page of it is one range of an index, however many calls
    there are. Knowing an id gives no right to read anything.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._last = 0

    def __call__(self) -> str:
        """12 hex digits, higher than any before in this process, also when the clock was set back."""
        number = int(self._clock() * TICKS)
        if number <= self._last:
            number = self._last + 1
        self._last = number
        return f"{number:012x}"

    def begin_after(self, number: int) -> None:
        """No id will be `number` or less."""
        self._last = max(self._last, number)


new_call_id = CallIds()
"""The ids of this process's calls."""


def first_number_at(at: float) -> int:
    """The lowest number that an id of the time `at` can have."""
    return int(at * TICKS)


def number_of(call_id: str) -> int:
    """The number that an id from outside stands for; raises Invalid for what is none."""
    if not re.fullmatch("[0-9a-f]{12}", call_id):
        raise Invalid(f"{call_id[:40]!r} is not the id of a call: 12 hex digits")
    return int(call_id, 16)
