from __future__ import annotations

from pathlib import Path

import pytest

from clowdy.runtimes.api import Driver, DriverUnavailable, Promise
from clowdy.runtimes.first import FirstDriver
from clowdy.server.config import Config
from clowdy.server.doctor import report
from clowdy.server.doctor.finding import Finding, State
from tests.runtimes.memory_driver import MemoryDriver
from tests.server.doctor.drivers import FakeDriver, Running, as_driver

ENGINE_DOWN = "the engine is down. Cure: start the engine"


async def test_everything_is_looked_at_and_the_driver_gets_a_folder_of_its_own(config: Config) -> None:
    fake, folders = FakeDriver(frozenset(Promise)), []

    def make(_: Config, folder: Path) -> Driver:
        folders.append(folder)
        return as_driver(fake)

    findings = await report.examine(config, make)

    names = {finding.name for finding in findings}
    assert {"clowdy", "git", "runtime", "limit", "docker", "database", "disk", "base domain"} <= names
    assert fake.events == ["open", "close"]
    assert folders[0] != config.data_dir
    assert not folders[0].exists()
    assert not config.data_dir.exists()


async def test_beside_a_running_server_its_own_driver_is_asked(config: Config) -> None:
    fake = FakeDriver(frozenset(Promise))

    found = await report.report(config, lambda *_: pytest.fail("a second driver"), Running(as_driver(fake)))

    assert found["ok"] is True
    assert fake.events == []
    assert {"name": "limit", "state": "ok", "found": "memory", "cure": ""} in found["findings"]


async def test_functions_that_cannot_run_in_the_server_that_asks_are_no_finding_of_its_driver(config: Config) -> None:
    driver = MemoryDriver(unavailable=ENGINE_DOWN, passing=True)
    with pytest.raises(DriverUnavailable) as refusal:
        await driver.open()
    tried = driver.tries
    running = Running(FirstDriver([driver]), refusal.value)

    found = await report.report(config, lambda *_: pytest.fail("a second driver"), running)

    assert found["ok"] is False
    assert [each for each in found["findings"] if each["name"] in ("runtime", "limit", "network")] == [
        Finding("runtime", State.MISSING, "the engine is down", "start the engine").as_json()
    ]
    assert driver.tries == tried


async def test_the_trouble_of_an_open_driver_comes_with_its_cure(config: Config) -> None:
    fake = FakeDriver(frozenset(Promise))
    fake.trouble = ENGINE_DOWN

    found = await report.report(config, lambda *_: pytest.fail("a second driver"), Running(as_driver(fake)))

    assert found["ok"] is False
    assert Finding("runtime", State.MISSING, "the engine is down", "start the engine").as_json() in found["findings"]
    fake.trouble = None
    assert (await report.report(config, lambda *_: as_driver(fake), Running(as_driver(fake))))["ok"] is True


async def test_a_sandbox_that_does_not_start_comes_with_its_cure(config: Config) -> None:
    fake = FakeDriver(frozenset(), "bubblewrap is not installed. Cure: apt-get install bubblewrap")

    found = await report.report(config, lambda *_: as_driver(fake))

    assert found["ok"] is False
    expected = Finding("runtime", State.MISSING, "bubblewrap is not installed", "apt-get install bubblewrap")
    assert expected.as_json() in found["findings"]
    assert fake.events == ["open", "close"]
