"""Driver `docker`: a container of the Docker Engine for each instance, and the resident runner in it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
import socket
from functools import partial
from pathlib import Path

from clowdy.runtimes.api import DriverUnavailable, Instance, Kind, Limits, Promise
from clowdy.runtimes.code import CodeCache, remove
from clowdy.runtimes.docker.cell import ContainerCell
from clowdy.runtimes.docker.connections import NOWHERE, Connection, Connections, Place
from clowdy.runtimes.docker.container import APP, GROUP, RUNNER, SERVER, Mount, instance_config
from clowdy.runtimes.docker.doorway import Doorway
from clowdy.runtimes.docker.engine import Engine, Facts, Missing, Refused
from clowdy.runtimes.docker.images import Images
from clowdy.runtimes.instance import RunnerInstance
from clowdy.runtimes.sandbox.cgroups import group_of
from clowdy.runtimes.sandbox.identities import Identities, container_identities
from clowdy.runtimes.sandbox.inotify import Inotify
from clowdy.runtimes.sandbox.network import PUBLIC_ONLY, Policy
from clowdy.runtimes.sandbox.seccomp import build_filter
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
_ADMIT_SECONDS = 20.0
_LOOK_SECONDS = 0.5
_USERS = "root:x:0:0::/:/bin/sh\nfunction:x:{uid}:{group}::/tmp:/bin/sh\n"


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
        self._filter = b""
        self._identities: Identities
        self._inotify = Inotify()
        self._instances: dict[RunnerInstance, ContainerCell] = {}
        self._connected: dict[RunnerInstance, Connection] = {}
        self._left: set[str] = set()
        self._first: RunnerInstance | None = None
        self._work = Tasks()

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
        self.engine.on_back = self._back
        try:
            if not self._facts.init:
                raise DriverUnavailable("the Docker Engine has no docker-init. Cure: apt-get install tini")
            await asyncio.get_running_loop().run_in_executor(None, self._set_up)
            await self._clear()
            await self.images.open()
            await self.connections.open()
            self._first = await self._start(_PLAIN)
        except BaseException:
            await self.close()
            raise

    def _set_up(self) -> None:
        assert self._facts is not None
        self._filter = build_filter()
        self._identities = container_identities(self._root, few=self._facts.maps_users)
        self._root.mkdir(parents=True, exist_ok=True, mode=0o711)
        remove(self._root / "instances")
        (self._root / "instances").mkdir(mode=0o711)
        self._cache.open()

    async def _clear(self) -> None:
        """Removes the containers that an earlier server left: what was in them nobody knows any more."""
        found = await self.engine.ask(
            lambda client: client.containers(all=True, filters={"label": f"{SERVER}={self._server}"})
        )
        await asyncio.gather(*(self._discard(each["Id"]) for each in found))

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
            await self.images.lost(kind.layer)
            return await self._start(kind)

    async def _start(self, kind: Kind) -> RunnerInstance:
        if self._facts is None:
            raise DriverUnavailable("the driver is closed")
        image = await self.images.of(kind.layer)
        place = NOWHERE if kind.network is Network.OFF else await self.connections.place()
        name = secrets.token_hex(6)
        uid = self._identities.take()
        folder = self._root / "instances" / name
        doorway = await asyncio.get_running_loop().run_in_executor(None, self._furnish, folder, uid)
        container = f"clowdy-{self._server}-{name}"
        config = instance_config(
            image,
            [self.images.base.python.executable, "-I", "-S", f"{RUNNER}/enter.py"],
            uid=uid,
            limits=Limits(),
            mounts=(Mount(str(folder / "app"), APP), Mount(str(folder / "passwd"), "/etc/passwd")),
            network=place.network,
            resolvers=place.resolvers,
            labels={SERVER: self._server, "clowdy.instance": name},
        )
        # Of its own, since a thread cannot be cut off: what was begun has to end before it can be removed.
        launch = self._work.spawn(self._launch(container, config), (DriverUnavailable,))
        try:
            await asyncio.shield(launch)
        except BaseException as error:
            doorway.close()
            await asyncio.shield(self._work.spawn(self._undo(launch, container, folder, uid)))
            if isinstance(error, Refused) and "bind source path does not exist" in str(error):
                raise DriverUnavailable(
                    f"the Docker Engine at {self.engine.address} does not see {self._root}: it runs on another "
                    "machine, or the server in a container. Cure: run the server beside the engine, or share the data "
                    "directory with both at the same path"
                ) from None
            raise
        return await self._greet(kind, name, container, folder, uid, doorway, place)

    def _furnish(self, folder: Path, uid: int) -> Doorway:
        """The folder of an instance: what it will see as /app, and who it is; blocks."""
        app = folder / "app"
        # The engine's users may be mapped: the folder is read by whoever sees it, and nobody else can pass here.
        folder.mkdir(mode=0o711)
        app.mkdir(mode=0o755)
        app.chmod(0o755)
        passwd = folder / "passwd"
        passwd.write_text(_USERS.format(uid=uid, group=GROUP))
        passwd.chmod(0o644)
        return Doorway(app)

    async def _launch(self, container: str, config: dict[str, object]) -> None:
        await self.engine.ask(lambda client: client.create_container_from_config(config, name=container))
        await self.engine.ask(lambda client: client.start(container))

    async def _undo(self, launch: asyncio.Task[None], container: str, folder: Path, uid: int) -> None:
        await asyncio.wait([launch])
        with contextlib.suppress(DriverUnavailable):
            await self._discard(container)
        await asyncio.get_running_loop().run_in_executor(None, remove, folder)
        self._identities.give_back(uid)

    async def _greet(
        self, kind: Kind, name: str, container: str, folder: Path, uid: int, doorway: Doorway, place: Place
    ) -> RunnerInstance:
        """Lets the first program in and waits for the runner that it becomes."""
        cell = ContainerCell(
            self.engine,
            container,
            folder,
            kind.layer,
            kind.network,
            self._cache,
            lambda each: self._work.spawn(self._discard(each), (DriverUnavailable,)),
            lambda: self._identities.give_back(uid),
        )
        channel, theirs = socket.socketpair()
        output, output_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(output, False)
        channel.setblocking(False)
        instance = RunnerInstance(name, kind, cell, output, self._forget)
        self._instances[instance] = cell
        try:
            runner = await self._admitted(container, doorway, (theirs.fileno(), output, output_end))
            cell.note(runner, group_of(runner, self._inotify) if runner else None)
            if place is not NOWHERE:
                # Nothing of a function is in it yet.
                lost = partial(instance.fail, "The instance lost its network")
                self._connected[instance] = await self.connections.confine(container, place, runner, lost)
        except BaseException:
            await instance.attach(channel)
            await instance.kill()
            raise
        finally:
            doorway.close()
            theirs.close()
            os.close(output_end)
        await instance.attach(channel)
        await instance.greeted()
        return instance

    async def _admitted(self, container: str, doorway: Doorway, descriptors: tuple[int, ...]) -> int:
        """The runner's process id; raises DriverUnavailable with what the container said when it ended before."""
        visit = asyncio.ensure_future(doorway.admit(self._filter, descriptors))
        try:
            async with asyncio.timeout(_ADMIT_SECONDS):
                while not (await asyncio.wait([visit], timeout=_LOOK_SECONDS))[0]:
                    state = (await self.engine.ask(lambda client: client.inspect_container(container)))["State"]
                    if not state["Running"]:
                        raise DriverUnavailable(await self._last_words(container, state))
            return await visit
        except TimeoutError:
            raise DriverUnavailable(f"the runner did not start within {_ADMIT_SECONDS:g} seconds") from None
        finally:
            visit.cancel()

    async def _last_words(self, container: str, state: dict[str, object]) -> str:
        said = await self.engine.ask(lambda client: client.logs(container, tail=20))
        lines = said.decode(errors="replace").split("\n") if isinstance(said, bytes) else []
        words = next((line.strip() for line in reversed(lines) if line.strip()), "without a word")
        return f"the container ended with status {state['ExitCode']}: {words[:300]}"

    def _forget(self, instance: RunnerInstance) -> None:
        self._instances.pop(instance, None)
        connection = self._connected.pop(instance, None)
        if connection is not None:
            self.connections.release(connection)

    async def _discard(self, container: str) -> None:
        """Removes a container; raises DriverUnavailable when the engine cannot now, and then tries again later."""
        self._left.add(container)
        try:
            await self.engine.ask(lambda client: client.remove_container(container, force=True, v=True))
        except Missing:
            pass
        except Refused as error:
            # Somebody else is removing it.
            if error.status != 409:
                raise
        self._left.discard(container)

    def _back(self) -> None:
        """The engine answers again: what it kept is removed."""
        self._work.spawn(self._sweep())

    async def _sweep(self) -> None:
        try:
            for container in tuple(self._left):
                await self._discard(container)
        except DriverUnavailable as error:
            log.warning("containers are left: %s", error)

    async def close(self) -> None:
        # First of all, so that nothing is started from now on.
        self._facts = None
        self._first = None
        await self._work.settle()
        await asyncio.gather(*(instance.kill() for instance in list(self._instances)))
        await self._work.settle()
        with contextlib.suppress(DriverUnavailable):
            await self._clear()
        with contextlib.suppress(DriverUnavailable):
            await self.connections.close()
        self._inotify.close()
        self._inotify = Inotify()
        await self.engine.close()
