"""Driver `docker`: a container of the Docker Engine for each instance, and the resident runner in it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
from functools import partial
from pathlib import Path

from clowdy.runtimes.api import DriverUnavailable, Instance, Kind, Promise
from clowdy.runtimes.code import CodeCache
from clowdy.runtimes.docker.cell import ContainerCell
from clowdy.runtimes.docker.connections import NOWHERE, Connection, Connections
from clowdy.runtimes.docker.container import RUNNER
from clowdy.runtimes.docker.containers import Containers
from clowdy.runtimes.docker.engine import Engine, Facts, Missing
from clowdy.runtimes.docker.images import Images
from clowdy.runtimes.docker.tool import START_TOOL, TOOL, Tool
from clowdy.runtimes.instance import RunnerInstance
from clowdy.runtimes.runner import runner_arguments
from clowdy.runtimes.sandbox.cgroups import group_of
from clowdy.runtimes.sandbox.inotify import Inotify
from clowdy.runtimes.sandbox.network import PUBLIC_ONLY, Policy
from clowdy.runtimes.tasks import Tasks
from clowdy.schema.manifest import Network

log = logging.getLogger(__name__)

_ALWAYS = frozenset(
    {
        Promise.READ_ONLY,
        Promise.PRIVATE_TMP,
        Promise.NO_NETWORK,
        Promise.SYSTEM_CALLS,
        Promise.HIDDEN_HOST,
        Promise.WHOLE_KILL,
        Promise.OWN_USER,
    }
)
_LIMITS = (Promise.MEMORY, Promise.CPU, Promise.PROCESSES)
_PLAIN = Kind(None, Network.OFF)


def server_name(data_dir: Path) -> str:
    """What tells the containers and images of a server from those of others on the same engine."""
    return hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:12]


class DockerDriver:
    """Runs functions in containers. `data_dir` holds their code; `policy` says what a function with a network reaches.

    The container that `open` starts for a trial is the first that `start` hands out.
    """

    name = "docker"

    def __init__(
        self,
        data_dir: Path,
        engine: Engine,
        images: Images,
        *,
        policy: Policy = PUBLIC_ONLY,
        connections: Connections | None = None,
    ) -> None:
        self._server = server_name(data_dir)
        self._root = data_dir / "runtime" / "docker"
        self.engine = engine
        self.images = images
        self.connections = connections or Connections(engine, images, self._server, policy)
        """What has a network in it, builds included."""
        self._facts: Facts | None = None
        self._cache = CodeCache(self._root / "blobs")
        self._containers = Containers(engine, self._server, self._root)
        self._inotify = Inotify()
        self._instances: dict[RunnerInstance, ContainerCell] = {}
        self._tools: set[Tool] = set()
        self._connected: dict[RunnerInstance, Connection] = {}
        self._first: RunnerInstance | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._work = Tasks()

    @property
    def is_open(self) -> bool:
        """Whether it has opened, and not closed since."""
        return self._facts is not None

    @property
    def python(self) -> str:
        return self.images.base.python.version if self.images.known else ""

    @property
    def base(self) -> str:
        return self.images.base.id if self.images.known else ""

    @property
    def promises(self) -> frozenset[Promise]:
        facts = self._facts
        if facts is None:
            return frozenset()
        limits = {Promise.MEMORY: facts.memory, Promise.PROCESSES: facts.processes, Promise.CPU: facts.cpu}
        if self.no_network is None:
            limits[Promise.CLOSED_NETWORK] = True
        return _ALWAYS | {promise for promise, holds in limits.items() if holds}

    @property
    def notice(self) -> str | None:
        lacks = [limit.value for limit in _LIMITS if self._facts is not None and limit not in self.promises]
        if not lacks:
            return None
        return (
            f"the Docker Engine cannot limit {' and '.join(lacks)} here. Cure: docker info says what its kernel lacks"
        )

    @property
    def no_network(self) -> str | None:
        return self.connections.refusal

    @property
    def trouble(self) -> str | None:
        return str(self.engine.down) if self.engine.down is not None else None

    async def open(self) -> None:
        self._facts = await self.engine.open()
        self.engine.on_back = self._containers.sweep
        try:
            if not self._facts.init:
                raise DriverUnavailable("the Docker Engine has no docker-init. Cure: apt-get install tini")
            await self._containers.open(self._facts)
            await asyncio.get_running_loop().run_in_executor(None, self._cache.open)
            await self.images.open()
            await self.connections.open()
            self._first = await self._start(_PLAIN)
        except BaseException:
            await self.close()
            raise

    async def start(self, kind: Kind) -> Instance:
        if kind.network is Network.DATABASE:
            raise DriverUnavailable("network: database is not available in this version")
        first, self._first = (self._first, None) if kind == _PLAIN else (None, self._first)
        if first is not None and first.alive:
            return first
        try:
            return await self._start(kind)
        except Missing as error:
            log.warning("%s", error)
            # Whoever waits for it may give up before it is done, and it must not begin anew with each of them.
            await asyncio.shield(self._recover(kind.layer))
            return await self._start(kind)

    def _recover(self, layer: str | None) -> asyncio.Task[None]:
        if self._recovery is None or self._recovery.done():
            self._recovery = self._work.spawn(self.images.lost(layer), (DriverUnavailable,))
        return self._recovery

    async def _start(self, kind: Kind) -> RunnerInstance:
        if self._facts is None:
            raise DriverUnavailable("the driver is closed")
        image = await self.images.of(kind.layer)
        place = NOWHERE if kind.network is Network.OFF else await self.connections.place()
        base = self.images.base.python
        container = await self._containers.start(image, base.executable, runner_arguments(base, RUNNER, 0), place=place)
        group = group_of(container.runner, self._inotify) if container.runner else None
        cell = ContainerCell(self.engine, self._containers, container, kind, self._cache, group)
        instance = RunnerInstance(container.id, kind, cell, container.output, self._forget)
        self._instances[instance] = cell
        try:
            if place is not NOWHERE:
                # Nothing of a function is in it yet.
                lost = partial(instance.fail, "The instance lost its network")
                self._connected[instance] = await self.connections.confine(
                    container.name, place, container.runner, lost
                )
        except BaseException:
            await instance.attach(container.channel)
            await instance.kill()
            raise
        await instance.attach(container.channel)
        await instance.greeted()
        return instance

    async def open_tool(self, source: bytes) -> Tool:
        """A program of ours, by its source, in a container of the base image without a network: it reads and writes
        descriptors 0 and 1. Raises DriverUnavailable.
        """
        if self._facts is None:
            raise DriverUnavailable("the driver is closed")
        image = await self.images.of(None)
        python = self.images.base.python.executable
        program = [python, "-I", "-S", "-c", START_TOOL]
        container = await self._containers.start(image, python, program, files={TOOL: source})
        tool = await Tool.of(container, self._containers)
        self._tools.add(tool)
        tool.on_end = partial(self._tools.discard, tool)
        return tool

    def _forget(self, instance: RunnerInstance) -> None:
        self._instances.pop(instance, None)
        connection = self._connected.pop(instance, None)
        if connection is not None:
            self.connections.release(connection)

    async def close(self) -> None:
        # First of all, so that nothing is started from now on.
        self._facts = None
        self._first = None
        await self._work.close()
        await asyncio.gather(
            *(instance.kill() for instance in list(self._instances)), *(tool.end() for tool in list(self._tools))
        )
        await self._containers.close()
        with contextlib.suppress(DriverUnavailable):
            await self.connections.close()
        with contextlib.suppress(DriverUnavailable):
            await self.images.close()
        self._inotify.close()
        self._inotify = Inotify()
        await self.engine.close()
