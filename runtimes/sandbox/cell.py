"""One sandbox from the outside: its folder, its limits, its user, and how it is killed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from clowdy.runtimes.api import Application
from clowdy.runtimes.budget import instance_bytes
from clowdy.runtimes.code import CodeCache, remove
from clowdy.runtimes.launcher import Process
from clowdy.runtimes.sandbox.cgroups import Group
from clowdy.runtimes.sandbox.command import APP
from clowdy.runtimes.sandbox.confined import Confined
from clowdy.runtimes.sandbox.connector import Connector
from clowdy.runtimes.sandbox.watcher import Watched, Watcher, descendants
from clowdy.schema.manifest import Network


class SandboxCell:
    """Implements `instance.Cell` for bubblewrap."""

    def __init__(
        self,
        folder: Path,
        packages: str | None,
        network: Network,
        process: Process,
        cache: CodeCache,
        group: Group | None,
        watcher: Watcher,
        uid: int | None,
        give_back: Callable[[], None],
    ) -> None:
        self.uid = uid
        self._folder = folder
        self._packages = packages
        self._network = network
        self._process = process
        self._cache = cache
        self._confined = Confined(group) if group is not None else None
        self._watcher = watcher
        self._give_back = give_back
        self._watched: Watched | None = None
        self._limit_bytes = 0
        self._init = -1
        self._connector: Connector | None = None

    @property
    def app(self) -> str:
        return APP

    @property
    def packages(self) -> str | None:
        return self._packages

    @property
    def offline(self) -> bool:
        return self._network is Network.OFF

    @property
    def process(self) -> Process:
        return self._process

    def fill(self, application: Application) -> None:
        limits = application.limits
        # What connects it comes on top: the function has all of its own.
        self._limit_bytes = instance_bytes(application)
        if self._confined is not None:
            self._confined.limit(self._limit_bytes, limits.cpu)
        self._cache.fill(application.code, self._folder)

    def watch_memory(self, on_short: Callable[[], None]) -> None:
        pid = self._process.pid
        if self._confined is not None:
            self._confined.watch(on_short)
        elif pid is not None:
            self._watched = Watched(pid, self._limit_bytes, on_short)
            self._watcher.add(self._watched)

    def note_init(self) -> None:
        """Remembers the init of the sandbox, so that its end can be waited for: everything in it ends before."""
        pid = self._process.pid
        if self._confined is None and pid is not None:
            for child in descendants(pid)[:1]:
                try:
                    self._init = os.pidfd_open(child)
                except OSError:
                    pass

    def watch_connector(self, on_lost: Callable[[], None]) -> None:
        """Begins to call `on_lost` when it is cut off its network; raises ProcessLookupError where it is already."""
        if (pid := self._process.pid) is None:
            raise ProcessLookupError("the first process has ended")
        self._connector = Connector(pid, on_lost)

    def out_of_memory(self) -> bool:
        if self._watched is not None:
            return self._watched.exceeded
        return self._confined is not None and self._confined.out_of_memory()

    @property
    def throttled(self) -> bool:
        return self._confined is not None and self._confined.throttled

    def widen(self, memory_bytes: int, cpu: float) -> None:
        """Sets other limits than those of the version."""
        if self._confined is not None:
            self._confined.limit(memory_bytes, cpu)

    async def destroy(self) -> None:
        if self._connector is not None:
            self._connector.close()
        if self._watched is not None:
            self._watcher.remove(self._watched)
        if self._confined is None:
            self._process.kill(root=False)
            await asyncio.shield(self._process.ended)
            await self._init_gone()
        else:
            await self._confined.kill()
            self._process.kill(root=True)
            await asyncio.shield(self._process.ended)
            await self._confined.remove()
        await asyncio.get_running_loop().run_in_executor(None, remove, self._folder)
        self._give_back()

    async def _init_gone(self) -> None:
        if self._init < 0:
            return
        loop = asyncio.get_running_loop()
        gone = loop.create_future()

        def ended() -> None:
            loop.remove_reader(self._init)
            gone.set_result(None)

        loop.add_reader(self._init, ended)
        try:
            await asyncio.wait([gone], timeout=5)
        finally:
            loop.remove_reader(self._init)
            os.close(self._init)
            self._init = -1
