"""Driver `process`: the runner as an ordinary child of the server's user. No isolation: for development alone."""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

from clowdy.runtimes.api import Application, DriverUnavailable, Instance, Kind, Limits, Promise
from clowdy.runtimes.code import CodeCache, remove
from clowdy.runtimes.instance import RunnerInstance
from clowdy.runtimes.launcher import Command, Launcher, Process
from clowdy.runtimes.packages import find_layer
from clowdy.runtimes.runner import Python, find_python, install_runner, runner_arguments
from clowdy.schema.manifest import Network


class _ProcessCell:
    """A process tree and its folder."""

    throttled = False
    offline = False

    def __init__(self, folder: Path, packages: Path | None, process: Process, cache: CodeCache) -> None:
        self._folder = folder
        self._packages = packages
        self._process = process
        self._cache = cache

    @property
    def app(self) -> str:
        return str(self._folder)

    @property
    def packages(self) -> str | None:
        return str(self._packages) if self._packages is not None else None

    @property
    def process(self) -> Process:
        return self._process

    def fill(self, application: Application) -> None:
        self._cache.fill(application.code, self._folder)

    def watch_memory(self, on_short: Callable[[], None]) -> None:
        """Nobody watches."""

    def out_of_memory(self) -> bool:
        return False

    async def destroy(self) -> None:
        self._process.kill(root=True)
        await asyncio.shield(self._process.ended)
        await asyncio.get_running_loop().run_in_executor(None, remove, self._folder)


class ProcessDriver:
    """Runs functions as plain processes of the server's own user.

    `layers` has a folder for each requirements layer, named by its digest.
    """

    name = "process"
    promises: frozenset[Promise] = frozenset()
    no_network: str | None = None
    base = ""
    trouble: str | None = None
    notice: str | None = "functions run without isolation (--runtime process): for development only"

    def __init__(self, data_dir: Path, python: str | None = None, *, layers: Path | None = None) -> None:
        self._root = data_dir / "runtime" / "process"
        self._layers = layers or data_dir / "layers"
        self._wanted = python
        self._found: Python | None = None
        self._runner = ""
        self._cache = CodeCache(self._root / "blobs")
        self._launcher: Launcher | None = None
        self._instances: set[RunnerInstance] = set()

    @property
    def python(self) -> str:
        assert self._found is not None, "not open"
        return self._found.version

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._set_up)
        assert self._found is not None
        self._launcher = Launcher(self._found.executable)
        await self._launcher.open()

    def _set_up(self) -> None:
        self._found = find_python(self._wanted, for_any_user=False)
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove(self._root / "instances")
        (self._root / "instances").mkdir()
        self._cache.open()
        self._runner = str(install_runner(self._root, self._found))

    async def start(self, kind: Kind) -> Instance:
        if kind.network is Network.DATABASE:
            raise DriverUnavailable("network: database is not available in this version")
        packages = find_layer(self._layers, kind.layer)
        assert self._found is not None
        if self._launcher is None:
            raise DriverUnavailable("the driver is closed")
        launcher = self._launcher
        await launcher.reopen()
        name = secrets.token_hex(6)
        folder = self._root / "instances" / name
        folder.mkdir()
        channel, theirs = socket.socketpair()
        output, output_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(output, False)
        channel.setblocking(False)
        try:
            process = launcher.start(
                name,
                Command(
                    argv=runner_arguments(self._found, self._runner, 0),
                    descriptors=(theirs.fileno(), output),
                    output=output_end,
                    limits=((resource.RLIMIT_NOFILE, Limits().open_files), (resource.RLIMIT_CORE, 0)),
                ),
            )
        finally:
            theirs.close()
            os.close(output_end)
        instance = RunnerInstance(
            name, kind, _ProcessCell(folder, packages, process, self._cache), output, self._instances.discard
        )
        self._instances.add(instance)
        await instance.attach(channel)
        await instance.greeted()
        return instance

    async def close(self) -> None:
        # First of all, so that nothing is started from now on.
        launcher, self._launcher = self._launcher, None
        await asyncio.gather(*(instance.kill() for instance in list(self._instances)))
        if launcher is not None:
            await launcher.close()
