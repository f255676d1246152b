"""What this machine has and lacks for Clowdy, and how to mend it. Works without a running server, and beside one."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from clowdy.runtimes.api import Driver, DriverUnavailable
from clowdy.server.config import Config
from clowdy.server.doctor import addresses, data, engine, machine
from clowdy.server.doctor.driver import cannot_run, driver_findings
from clowdy.server.doctor.finding import Finding, State
from clowdy.server.installed import images_of

DRIVER_SECONDS = 60.0

MakeDriver = Callable[[Config, Path], Driver]
"""The driver that the settings choose, for a trial below the folder that it is given."""


class Running(Protocol):
    """What functions run in, in the server that asks: as its pool says."""

    @property
    def driver(self) -> Driver:
        """Open, unless it is `unavailable`."""
        ...

    @property
    def unavailable(self) -> DriverUnavailable | None:
        """Why it is not open."""
        ...


async def examine(config: Config, make_driver: MakeDriver, running: Running | None = None) -> list[Finding]:
    """Everything, in the order in which it is worth mending; `running` where a server asks of itself."""
    findings = await asyncio.to_thread(lambda: [*machine.versions(), machine.git()])
    images: Mapping[str, int] = {}
    if running is not None and running.unavailable is not None:
        findings += [cannot_run(str(running.unavailable)), await engine.unused()]
    elif running is not None:
        findings += [*driver_findings(running.driver), *await engine.of(running.driver)]
        images = images_of(config, running.driver)
    else:
        tried, images = await _trial(config, make_driver)
        findings += tried
    return findings + await asyncio.to_thread(lambda: _machine(config, images))


async def report(config: Config, make_driver: MakeDriver, running: Running | None = None) -> Mapping[str, Any]:
    """What `examine` found, as the API shows it."""
    findings = await examine(config, make_driver, running)
    return {
        "ok": all(finding.state is not State.MISSING for finding in findings),
        "findings": [finding.as_json() for finding in findings],
    }


def _machine(config: Config, images: Mapping[str, int]) -> list[Finding]:
    return [
        machine.namespaces(),
        data.data_directory(config),
        data.database(config),
        data.calls(config),
        data.secret_key(config),
        *data.layers(config, images),
        data.disk(config),
        machine.memory(config),
        machine.open_files(),
        addresses.base_domain(config),
        addresses.public_url(config),
    ]


async def _trial(config: Config, make_driver: MakeDriver) -> tuple[list[Finding], Mapping[str, int]]:
    # A folder of its own: opening a driver clears what an earlier server left, and one may be running.
    with tempfile.TemporaryDirectory(prefix="clowdy-doctor-") as folder:
        # What functions run as must be able to pass it, as they pass the folders of a data directory.
        Path(folder).chmod(0o711)
        driver = make_driver(config, Path(folder))
        try:
            async with asyncio.timeout(DRIVER_SECONDS):
                await driver.open()
                engines = await engine.of(driver)
            return [*driver_findings(driver), *engines], images_of(config, driver)
        except DriverUnavailable as error:
            refused = cannot_run(str(error))
        except TimeoutError:
            refused = Finding("runtime", State.MISSING, f"did not start within {DRIVER_SECONDS:.0f} s", "try again")
        finally:
            await driver.close()
    return [refused, await engine.unused()], {}
