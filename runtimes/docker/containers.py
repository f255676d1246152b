"""The containers of one server: started, handed their descriptors, and removed whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clowdy.runtimes.api import DriverUnavailable, Limits
from clowdy.runtimes.code import remove
from clowdy.runtimes.docker.connections import NOWHERE, Place
from clowdy.runtimes.docker.container import APP, GROUP, RUNNER, SERVER, Mount, instance_config
from clowdy.runtimes.docker.doorway import Doorway
from clowdy.runtimes.docker.engine import Engine, Facts, Refused
from clowdy.runtimes.docker.processes import ContainerProcess
from clowdy.runtimes.sandbox.identities import Identities, container_identities
from clowdy.runtimes.sandbox.seccomp import build_filter
from clowdy.runtimes.tasks import Tasks

log = logging.getLogger(__name__)

_ADMIT_SECONDS = 20.0
_LOOK_SECONDS = 0.5
_AGAIN_SECONDS = 5.0
_USERS = "root:x:0:0::/:/bin/sh\nfunction:x:{uid}:{group}::/tmp:/bin/sh\n"


@dataclass(frozen=True, slots=True)
class Container:
    """One that runs: `name` as the engine knows it, `folder` whose `app` it sees as /app.

    `channel` is our end of what its program has as descriptor 3, `output` that of the pipe behind 1 and 2; `runner` is
    the program's process id here, 0 where it cannot be seen, `process` the container's first.
    """

    id: str
    name: str
    folder: Path
    uid: int
    runner: int
    process: ContainerProcess
    channel: socket.socket
    output: int


class Containers:
    """Starts containers below `root`, under the label of `server`."""

    def __init__(self, engine: Engine, server: str, root: Path) -> None:
        self._engine = engine
        self._server = server
        self._folders = root / "instances"
        self._filter = b""
        self._identities: Identities | None = None
        self._left: set[str] = set()
        self._work = Tasks()

    async def open(self, facts: Facts) -> None:
        """Removes what an earlier server left: what was in it nobody knows any more."""
        await asyncio.get_running_loop().run_in_executor(None, self._set_up, facts)
        await self._clear()

    def _set_up(self, facts: Facts) -> None:
        self._filter = build_filter()
        self._identities = container_identities(self._folders, few=facts.maps_users)
        self._folders.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        remove(self._folders)
        self._folders.mkdir(mode=0o711)

    async def _clear(self) -> None:
        found = await self._engine.ask(
            lambda client: client.containers(all=True, filters={"label": f"{SERVER}={self._server}"})
        )
        await asyncio.gather(*(self._remove(each["Id"]) for each in found))

    async def start(
        self,
        image: str,
        python: str,
        program: Sequence[str],
        *,
        place: Place = NOWHERE,
        files: Mapping[str, bytes] | None = None,
    ) -> Container:
        """A container in which `program` runs, with `files` in /app; raises DriverUnavailable."""
        if self._identities is None:
            raise DriverUnavailable("the driver is closed")
        name = secrets.token_hex(6)
        uid = self._identities.take()
        folder = self._folders / name
        doorway = await asyncio.get_running_loop().run_in_executor(None, _furnish, folder, uid, files or {})
        container = f"clowdy-{self._server}-{name}"
        config = instance_config(
            image,
            [python, "-I", "-S", f"{RUNNER}/enter.py"],
            uid=uid,
            limits=Limits(),
            mounts=(Mount(str(folder / "app"), APP), Mount(str(folder / "passwd"), "/etc/passwd")),
            network=place.network,
            resolvers=place.resolvers,
            labels={SERVER: self._server, "clowdy.instance": name},
        )
        # Of its own, since a thread cannot be cut off: what was begun has to end before it can be removed.
        launch = self._work.spawn(self._launch(container, config), (DriverUnavailable,))
        channel, theirs = socket.socketpair()
        output, output_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(output, False)
        channel.setblocking(False)
        try:
            await asyncio.shield(launch)
            descriptors = (theirs.fileno(), output, output_end)
            runner = await self._admitted(container, doorway, program, descriptors)
        except BaseException as error:
            channel.close()
            os.close(output)
            await asyncio.shield(self._work.spawn(self._undo(launch, container, folder, uid)))
            if isinstance(error, Refused) and "bind source path does not exist" in str(error):
                raise self._elsewhere() from None
            raise
        finally:
            doorway.close()
            theirs.close()
            os.close(output_end)
        process = ContainerProcess(self._engine, container, runner)
        return Container(name, container, folder, uid, runner, process, channel, output)

    async def end(self, container: Container) -> None:
        """Ends it, and returns when no process of it is left."""
        killed = await container.process.kill()
        removed = self._remove_soon(container.name)
        if not killed:
            # The engine alone can kill it: while it is down, what is left goes when it is back.
            await asyncio.wait([removed])
        container.process.close()
        await asyncio.get_running_loop().run_in_executor(None, remove, container.folder)
        self._give_back(container.uid)

    def _elsewhere(self) -> DriverUnavailable:
        return DriverUnavailable(
            f"the Docker Engine at {self._engine.address} does not see {self._folders}: it runs on another machine, or "
            "the server in a container. Cure: run the server beside the engine, or share the data directory with both "
            "at the same path"
        )

    async def _launch(self, container: str, config: dict[str, object]) -> None:
        await self._engine.ask(lambda client: client.create_container_from_config(config, name=container))
        await self._engine.ask(lambda client: client.start(container))

    async def _undo(self, launch: asyncio.Task[None], container: str, folder: Path, uid: int) -> None:
        await asyncio.wait([launch])
        with contextlib.suppress(DriverUnavailable):
            await self._remove(container)
        await asyncio.get_running_loop().run_in_executor(None, remove, folder)
        self._give_back(uid)

    async def _admitted(
        self, container: str, doorway: Doorway, program: Sequence[str], descriptors: Sequence[int]
    ) -> int:
        """The program's process id; raises DriverUnavailable with what the container said when it ended before."""
        visit = asyncio.ensure_future(doorway.admit(program, self._filter, descriptors))
        try:
            async with asyncio.timeout(_ADMIT_SECONDS):
                while not (await asyncio.wait([visit], timeout=_LOOK_SECONDS))[0]:
                    state = (await self._engine.ask(lambda client: client.inspect_container(container)))["State"]
                    if not state["Running"]:
                        raise DriverUnavailable(await self._last_words(container, state))
            return await visit
        except TimeoutError:
            raise DriverUnavailable(f"the runner did not start within {_ADMIT_SECONDS:g} seconds") from None
        except OSError as error:
            raise DriverUnavailable(f"the container ended as soon as it had started: {error.strerror}") from None
        finally:
            visit.cancel()

    async def _last_words(self, container: str, state: dict[str, object]) -> str:
        said = await self._engine.ask(lambda client: client.logs(container, tail=20))
        lines = said.decode(errors="replace").split("\n") if isinstance(said, bytes) else []
        words = next((line.strip() for line in reversed(lines) if line.strip()), "without a word")
        return f"the container ended with status {state['ExitCode']}: {words[:300]}"

    def _remove_soon(self, container: str) -> asyncio.Task[None]:
        return self._work.spawn(self._remove(container), (DriverUnavailable,))

    async def _remove(self, container: str) -> None:
        """What the engine cannot do now is tried again, and when it is back."""
        self._left.add(container)
        try:
            await self._engine.remove(container)
        except Refused:
            asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self.sweep)
            raise
        self._left.discard(container)

    def _give_back(self, uid: int) -> None:
        if self._identities is not None:
            self._identities.give_back(uid)

    def sweep(self) -> None:
        """Removes what the engine could not before."""
        if self._identities is not None:
            for container in self._left:
                self._remove_soon(container)

    async def close(self) -> None:
        """Starts no more, and leaves nothing behind but what an engine that is down keeps."""
        self._identities = None
        await self._work.settle()
        with contextlib.suppress(DriverUnavailable):
            await self._clear()


def _furnish(folder: Path, uid: int, files: Mapping[str, bytes]) -> Doorway:
    """The folder of a container: what it will see as /app, and who it is; blocks."""
    app = folder / "app"
    # Users may be others for the engine: whoever sees the folder may read it, and nobody else can pass here.
    folder.mkdir(mode=0o711)
    app.mkdir()
    app.chmod(0o755)
    for path, content in (("passwd", _USERS.format(uid=uid, group=GROUP).encode()), *_below_app(files)):
        (folder / path).write_bytes(content)
        (folder / path).chmod(0o644)
    return Doorway(app)


def _below_app(files: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    return [(f"app/{path}", content) for path, content in files.items()]
