"""Which driver functions run in, and what of this process it needs before anything else starts."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import platform
import resource
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from clowdy.hooks.syntax import Child, SyntaxChild, SyntaxUnavailable, start_here
from clowdy.runtimes.api import Driver, DriverUnavailable
from clowdy.runtimes.docker.driver import DockerDriver, server_name
from clowdy.runtimes.docker.engine import Engine
from clowdy.runtimes.docker.images import Images
from clowdy.runtimes.docker.packages import ImagePackages
from clowdy.runtimes.first import CURE, FirstDriver
from clowdy.runtimes.layers.api import Packages
from clowdy.runtimes.layers.builder import Apart, LayerBuilder
from clowdy.runtimes.layers.chosen import ChosenPackages
from clowdy.runtimes.layers.nothing import NoPackages
from clowdy.runtimes.layers.pip_settings import find_index
from clowdy.runtimes.process import ProcessDriver
from clowdy.runtimes.runner import find_python
from clowdy.runtimes.sandbox.driver import SandboxDriver
from clowdy.runtimes.sandbox.network import Policy
from clowdy.runtimes.sandbox.view import enter_private_mounts
from clowdy.server.config import Config

log = logging.getLogger(__name__)

FILE = "runtime.json"


def prepare_process(config: Config) -> None:
    """Gives the process mounts of its own where the sandbox will need them; called before any thread is started.

    Besides, it may have as many files open as it can be allowed: each connection and each instance takes some.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if config.runtime != "process":
        enter_private_mounts()


def event_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's loop where it is installed, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def make_driver(config: Config, folder: Path | None = None) -> Driver:
    """The driver that the settings ask for, for a trial below `folder`, else for a server.

    Without isolation only when it was chosen in so many words.
    """
    is_trial, folder = folder is not None, folder or config.data_dir
    match config.runtime:
        case "process":
            return ProcessDriver(folder)
        case "sandbox":
            return _sandbox(config, folder)
        case "docker":
            return _docker(config, folder, is_trial=is_trial)
        case _:
            return FirstDriver([_sandbox(config, folder), _docker(config, folder, is_trial=is_trial)])


def _sandbox(config: Config, folder: Path) -> SandboxDriver:
    policy = Policy(allow_private=config.allow_private_networks)
    return SandboxDriver(folder, _run_dir(folder), policy=policy)


def _docker(config: Config, folder: Path, *, is_trial: bool) -> DockerDriver:
    policy = Policy(allow_private=config.allow_private_networks)
    engine = Engine()
    images = Images(engine, server_name(folder), folder / "docker", config.docker_image, trial=is_trial)
    return DockerDriver(folder, engine, images, policy=policy)


@contextlib.asynccontextmanager
async def open_packages(config: Config, driver: Driver) -> AsyncIterator[Packages]:
    """What resolves and installs requirements for `driver`, which need not be open yet."""
    if isinstance(driver, FirstDriver):
        async with contextlib.AsyncExitStack() as stack:
            opened = {
                each.name: await stack.enter_async_context(open_packages(config, each)) for each in driver.drivers
            }
            yield ChosenPackages(opened, lambda: driver.name)
    elif isinstance(driver, DockerDriver):
        index, limits = find_index(os.environ), config.build
        packages = ImagePackages(
            config.data_dir, driver.engine, driver.images, driver.connections, index, limits=limits
        )
        try:
            yield packages
        finally:
            await packages.close()
    else:
        async with _layers(config) as layers:
            yield layers


@contextlib.asynccontextmanager
async def _layers(config: Config) -> AsyncIterator[Packages]:
    """Folders for the sandbox and plain processes, from where pip and uv of this machine take packages."""
    index = find_index(os.environ)
    apart = Apart.PARTLY if config.runtime == "process" else Apart.WHOLLY
    builder = LayerBuilder(config.layers, _run_dir(config.data_dir), index, apart=apart, limits=config.build)
    try:
        await builder.open()
    except DriverUnavailable as unavailable:
        yield NoPackages(str(unavailable))
        return
    try:
        yield builder
    finally:
        await builder.close()


def second_choice(driver: Driver) -> str | None:
    """Why functions run in this open driver and not in the one that comes first; None where that one runs them."""
    if not isinstance(driver, FirstDriver) or not driver.passed_over:
        return None
    reasons = (f"{name} cannot: {str(error).partition(CURE)[0].rstrip('.')}" for name, error in driver.passed_over)
    return f"functions run in {driver.name}, since the {'; the '.join(reasons)}"


def syntax_child(driver: Driver) -> SyntaxChild:
    """What parses pushed Python: the interpreter that will run it, or one of this machine with the same grammar."""
    try:
        python = find_python(None, for_any_user=True)
        executable, version = python.executable, python.version
    except DriverUnavailable:
        executable, version = sys.executable, platform.python_version()

    async def start(worker: Path) -> Child:
        chosen = driver.chosen if isinstance(driver, FirstDriver) else driver
        # One that is not open yet cannot be asked; once it is, the next child is of its Python.
        if isinstance(chosen, DockerDriver) and chosen.is_open and _grammar(chosen.python) != _grammar(version):
            try:
                return await chosen.open_tool(worker.read_bytes())
            except DriverUnavailable as unavailable:
                raise SyntaxUnavailable(f"Python cannot be read: {unavailable}") from None
        return await start_here(executable, worker)

    return SyntaxChild(start=start)


def _grammar(version: str) -> list[str]:
    return version.split(".")[:2]


def changed(config: Config, driver: Driver) -> bool:
    """Whether functions last ran in another driver, Python or base image, which the log then says."""
    try:
        before = json.loads((config.data_dir / FILE).read_text())
    except (FileNotFoundError, ValueError):
        return False
    if not isinstance(before, dict):
        return False
    differences = [
        f"{_NAMES[key]} {_short(now) or 'none'} (before: {_short(str(before.get(key, ''))) or 'none'})"
        for key, now in _in_use(driver).items()
        if now != before.get(key, "")
    ]
    if differences:
        log.warning("functions have another %s: live releases are prepared for it", ", another ".join(differences))
    return bool(differences)


def note(config: Config, driver: Driver) -> None:
    """Records the driver, the Python and the base image in use, once everything live was prepared for them."""
    path = config.data_dir / FILE
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(_in_use(driver)) + "\n")
    temporary.replace(path)


_NAMES = {"driver": "runtime:", "python": "Python:", "base": "base image:"}


def _in_use(driver: Driver) -> dict[str, str]:
    return {"driver": driver.name, "python": driver.python, "base": driver.base}


def _short(text: str) -> str:
    """As the engine's own tools show the ids of images."""
    return text.removeprefix("sha256:")[:12]


def _run_dir(folder: Path) -> Path:
    """Where instances see their files when `folder` is closed to their users; its name is short and ours."""
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]
    if os.geteuid() == 0:
        return Path(f"/run/clowdy-{name}")
    base = os.environ.get("XDG_RUNTIME_DIR")
    return Path(base) / f"clowdy-{name}" if base else folder / "run"
