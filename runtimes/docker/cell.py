"""One container from the outside: its folder, its limits, its user, and how it is killed."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from clowdy.runtimes.api import Application, Limits
from clowdy.runtimes.code import CodeCache
from clowdy.runtimes.docker.container import APP, PACKAGES
from clowdy.runtimes.docker.engine import Engine
from clowdy.runtimes.docker.processes import ContainerProcess
from clowdy.runtimes.sandbox.cgroups import Group
from clowdy.runtimes.sandbox.confined import Confined
from clowdy.schema.manifest import Network

USUAL = Limits()


class ContainerCell:
    """Implements `instance.Cell` for a container. `folder` is the instance's; `discard` has the engine
    remove it, whatever becomes of that."""

    def __init__(
        self,
        engine: Engine,
        container: str,
        folder: Path,
        layer: str | None,
        network: Network,
        cache: CodeCache,
        discard: Callable[[str], asyncio.Task[None]],
        give_back: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._container = container
        self._folder = folder
        self._layer = layer
        self._network = network
        self._cache = cache
        self._discard = discard
        self._give_back = give_back
        self._confined: Confined | None = None
        self._group: Group | None = None
        self.process = ContainerProcess(engine, container)
        self.runner = 0
        """The process id of its runner here, 0 where it cannot be seen."""

    @property
    def app(self) -> str:
        return APP

    @property
    def packages(self) -> str | None:
        return PACKAGES if self._layer is not None else None

    @property
    def offline(self) -> bool:
        return self._network is Network.OFF

    def note(self, runner: int, group: Group | None) -> None:
        """Remembers who came through the door, and the group in which the engine holds it."""
        self.runner = runner
        self.process.note(runner)
        if group is not None:
            self._group, self._confined = group, Confined(group)

    def fill(self, application: Application) -> None:
        limits = application.limits
        limited: Future[object] | None = None
        if (limits.memory_bytes, limits.cpu) != (USUAL.memory_bytes, USUAL.cpu):
            limited = self._engine.limit(self._container, limits.memory_bytes, limits.cpu)
        self._cache.fill(application.code, self._folder / "app")
        if limited is not None:
            limited.result()

    def watch_memory(self, on_short: Callable[[], None]) -> None:
        if self._confined is not None:
            self._confined.watch(on_short)

    def out_of_memory(self) -> bool:
        return self.process.oom_killed or (self._confined is not None and self._confined.out_of_memory())

    @property
    def throttled(self) -> bool:
        return self._confined is not None and self._confined.throttled

    async def destroy(self) -> None:
        killed = await self.process.kill()
        if self._group is not None:
            self._group.forget()
        removed = self._discard(self._container)
        if not killed:
            # The engine alone can kill it: while it is down, what is left goes when it is back.
            await asyncio.wait([removed])
        self.process.close()
        await asyncio.get_running_loop().run_in_executor(None, lambda: shutil.rmtree(self._folder, ignore_errors=True))
        self._give_back()
