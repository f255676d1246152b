"""Why a caller gets no instance, though nothing is wrong with the function."""

from __future__ import annotations


class NotServed(Exception):
    """A caller gets no instance. `retry_after` says in how many seconds it may be worth another try."""

    retry_after = 1


class Busy(NotServed):
    """All instances of the function stayed busy, or too many callers wait for one already."""


class NoMemory(NotServed):
    """The memory budget stayed full."""

    retry_after = 5


class Withdrawn(NotServed):
    """The function was removed, or the server is stopping."""
