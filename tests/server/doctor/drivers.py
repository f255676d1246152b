"""Drivers that stand for those of a machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from clowdy.runtimes.api import Driver, DriverUnavailable, Promise


class FakeDriver:
    """A driver that opens, or says why not, and remembers what was done with it."""

    name = "sandbox"
    python = "3.11.2"
    base = ""
    trouble: str | None = None
    notice: str | None = None
    no_network: str | None = None

    def __init__(self, promises: frozenset[Promise], failure: str = "") -> None:
        self.promises = promises
        self.failure = failure
        self.events: list[str] = []

    async def open(self) -> None:
        self.events.append("open")
        if self.failure:
            raise DriverUnavailable(self.failure)

    async def close(self) -> None:
        self.events.append("close")


def as_driver(fake: FakeDriver) -> Driver:
    return cast("Driver", fake)


@dataclass
class Running:
    """The pool of a server."""

    driver: Driver
    unavailable: DriverUnavailable | None = None
