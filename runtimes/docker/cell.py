"""One container from the outside: its folder, its limits, its user, and how it is killed."""

from __future__ import annotations

from collections.abc import Callable

from clowdy.runtimes.api import Application, Limits
from clowdy.runtimes.code import CodeCache
from clowdy.runtimes.docker.container import APP, PACKAGES
from clowdy.runtimes.docker.containers import Container, Containers
from clowdy.runtimes.docker.engine import Engine
from clowdy.runtimes.sandbox.cgroups import Group
from clowdy.runtimes.sandbox.confined import Confined
from clowdy.schema.manifest import Network

USUAL = Limits()


class ContainerCell:
    """Implements `instance.Cell` for a container."""

    def __init__(
        self,
        engine: Engine,
        containers: Containers,
        container: Container,
        layer: str | None,
        network: Network,
        cache: CodeCache,
    ) -> None:
        self._engine = engine
        self._containers = containers
        self._container = container
        self._layer = layer
        self._network = network
        self._cache = cache
        self._confined: Confined | None = None
        self._group: Group | None = None
        self.process = container.process

    @property
    def app(self) -> str:
        return APP

    @property
    def packages(self) -> str | None:
        return PACKAGES if self._layer is not None else None

    @property
    def offline(self) -> bool:
        return self._network is Network.OFF

    def note(self, group: Group | None) -> None:
        """Remembers the group in which the engine holds it, where that can be seen."""
        if group is not None:
            self._group, self._confined = group, Confined(group)

    def fill(self, application: Application) -> None:
        limits = application.limits
        if (limits.memory_bytes, limits.cpu) != (USUAL.memory_bytes, USUAL.cpu):
            self._limit(limits)
        self._cache.fill(application.code, self._container.folder / "app")

    def _limit(self, limits: Limits) -> None:
        """Where its group can be written that is quicker; the engine is told as well, and whoever sets groups anew."""
        told = self._engine.limit(self._container.name, limits.memory_bytes, limits.cpu)
        try:
            if self._confined is None:
                raise PermissionError
            self._confined.limit(limits.memory_bytes, limits.cpu)
        except OSError:
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
