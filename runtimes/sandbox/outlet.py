"""The way out of the sandboxes that have a network: whether it can be had here, and that its rules stay true."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.sandbox.addresses import AddressWatch
from clowdy.runtimes.sandbox.network import (
    Outside,
    Policy,
    find_outside,
    host_addresses,
    outside_command,
    rewrite_command,
)
from clowdy.runtimes.sandbox.watcher import descendants

CONNECTION_PROCESSES = 8
CONNECTION_FILES = 4096
"""How many there may be for pasta and what is around an instance with a network, on top of the function's limits."""


class Outlet:
    """Wraps commands so that they run in a network of their own.

    `rewrite` brings up to date what runs already, `retry` looks whether there is a way out now where there was none;
    both are called when the addresses or routes of this machine have changed.
    """

    def __init__(
        self, policy: Policy, rewrite: Callable[[], Awaitable[None]], retry: Callable[[], Awaitable[None]]
    ) -> None:
        self._policy = policy
        self._rewrite = rewrite
        self._retry = retry
        self._python = ""
        self._outside: Outside | None = None
        self._missing: str | None = "the driver is not open"
        self._watch = AddressWatch(self._follow)
        self.generation = 0
        """Counts how often the rules changed."""
        self.failed: str | None = None
        """Why it does not work although all that it needs is there: what a trial found."""

    @property
    def refusal(self) -> str | None:
        """Why there is no way out here, with the cure; None where there is one."""
        return self._missing or self.failed

    @property
    def outside(self) -> Outside:
        """What was found last; raises DriverUnavailable where there is no way out."""
        if self._outside is None or self.refusal is not None:
            raise DriverUnavailable(f"network: true cannot be had here: {self.refusal}")
        return self._outside

    async def open(self, python: str) -> None:
        """Finds out what is there for functions that `python` runs."""
        self._python = python
        self._watch.open()
        await self._find()

    def wrap(self, argv: Sequence[str], open_files: int) -> tuple[str, ...]:
        """`argv` in a network of its own; raises DriverUnavailable."""
        return outside_command(self.outside, self._policy, argv, open_files=open_files)

    def rewrite_command(self, pid: int) -> tuple[str, ...] | None:
        """What sets the rules anew for what `pid` wraps; None where nothing is connected."""
        inside = inside_of(pid)
        if inside is None or self._outside is None:
            return None
        return rewrite_command(self._outside, self._policy, inside)

    async def _find(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._outside = await loop.run_in_executor(None, find_outside, self._python)
            self._missing = None
        except DriverUnavailable as error:
            self._missing = str(error)
            if self._outside is not None:
                # What runs already goes on, and must be kept from new addresses all the same.
                host = await loop.run_in_executor(None, host_addresses, self._outside.ip)
                self._outside = replace(self._outside, host=host)

    async def _follow(self) -> None:
        before, missed = self._outside, self._missing is not None
        await self._find()
        if self._outside != before:
            self.generation += 1
            await self._rewrite()
        if missed and self._missing is None:
            await self._retry()

    async def close(self) -> None:
        """Stops watching."""
        await self._watch.close()


def inside_of(pid: int) -> int | None:
    """The process of a wrapped command, whose first process is `pid`, that became what was wrapped; blocks shortly."""
    for process in descendants(pid):
        try:
            if not Path(f"/proc/{process}/ns/net").samefile("/proc/self/ns/net"):
                return process
        except OSError:
            continue
    return None
