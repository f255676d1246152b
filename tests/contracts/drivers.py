"""The drivers under contract. A further one joins by a line in DRIVERS and says by its promises what it cannot keep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from clowdy.runtimes.api import Driver
from clowdy.runtimes.docker.driver import DockerDriver, server_name
from clowdy.runtimes.docker.engine import Engine
from clowdy.runtimes.docker.images import Images
from clowdy.runtimes.process import ProcessDriver
from clowdy.runtimes.sandbox import SandboxDriver
from clowdy.runtimes.sandbox.network import PUBLIC_ONLY, Policy


def _sandbox(data_dir: Path, run_dir: Path, policy: Policy = PUBLIC_ONLY) -> Driver:
    return SandboxDriver(data_dir, run_dir, policy=policy)


def _watched_sandbox(data_dir: Path, run_dir: Path, policy: Policy = PUBLIC_ONLY) -> Driver:
    """As where no control group can be written."""
    return SandboxDriver(data_dir, run_dir, use_groups=False, policy=policy)


def docker_driver(data_dir: Path, address: str, policy: Policy = PUBLIC_ONLY) -> DockerDriver:
    """On the engine at `address`."""
    engine = Engine(address)
    return DockerDriver(data_dir, engine, Images(engine, server_name(data_dir), data_dir / "docker"), policy=policy)


def _process(data_dir: Path, run_dir: Path, policy: Policy = PUBLIC_ONLY) -> Driver:
    return ProcessDriver(data_dir)


Make = Callable[[Path, Path, Policy], Driver]
MakeDriver = Callable[..., Driver]
"""Takes a policy if there shall be another than the usual one."""

DRIVERS: dict[str, Make] = {"sandbox": _sandbox, "process": _process}
# Other ways to set one up, which change what it keeps apart and nothing else: for the tests of isolation alone.
VARIANTS: dict[str, Make] = {"watched": _watched_sandbox}
DOCKER = "docker"
"""The one driver that needs an engine, which the tests start."""

NAMES = (*DRIVERS, DOCKER)
