"""One container from the outside: its folder, its limits, its user, and how it is killed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from clowdy.runtimes.api import Application, Kind, Limits
from clowdy.runtimes.code import CodeCache
from clowdy.runtimes.docker.container import APP, PACKAGES
from clowdy.runtimes.docker.containers import Container, Containers
from clowdy.runtimes.docker.engine import Engine
from clowdy.runtimes.sandbox.cgroups import Group
from clowdy.runtimes.sandbox.confined import Confined
from clowdy.schema.manifest import Network

USUAL = Limits()


class ContainerCell:
    """Implements `instance.Cell` for a container; `group` is where the engine holds it, as far as that can be seen."""

    def __init__(
        self,
        engine: Engine,
        containers: Containers,
        container: Container,
        kind: Kind,
        cache: CodeCache,
        group: Group | None,
    ) -> None:
        self._engine = engine
        self._containers = containers
        self._container = container
        self._kind = kind
        self._cache = cache
        self._group = group
        self._confined = Confined(group) if group is not None else None
        self.process = container.process

    @property
    def app(self) -> str:
        return APP

    @property
    def packages(self) -> str | None:
        return PACKAGES if self._kind.layer is not None else None

    @property
    def offline(self) -> bool:
        return self._kind.network is Network.OFF

    def fill(self, application: Application) -> None:
        limits = application.limits
        if (limits.memory_bytes, limits.cpu) != (USUAL.memory_bytes, USUAL.cpu):
            self._limit(limits)
        self._cache.fill(application.code, self._container.folder / "app")

    def _limit(self, limits: Limits) -> None:
        """Where its group can be written that is quicker; the engine is told as well, and whoever sets groups anew."""
        told = self._engine.limit(self._container.name, limits.memory_bytes, limits.cpu)
        if self._confined is not None:
            with contextlib.suppress(OSError):
                self._confined.limit(limits.memory_bytes, limits.cpu)
                return
        told.result()

    def watch_memory(self, on_short: Callable[[], None]) -> None:
        if self._confined is not None:
            self._confined.watch(on_short)

    def out_of_memory(self) -> bool:
        return self.process.oom_killed or (self._confined is not None and self._confined.out_of_memory())

    @property
    def throttled(self) -> bool:
        return self._confined is not None and self._confined.throttled

    async def destroy(self) -> None:
        if self._group is not None:
            self._group.forget()
        await self._containers.end(self._container)
