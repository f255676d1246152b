"""A driver that cannot run now and can later: nobody has to start the server again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from clowdy.runtimes.api import DriverUnavailable, Kind, Network
from clowdy.runtimes.pool import Pool
from clowdy.runtimes.standby import KIND_SECONDS
from clowdy.schema.units import MEBIBYTE
from tests.runtimes.manual_clock import ManualClock, settle
from tests.runtimes.memory_driver import MemoryDriver, application

DOWN = "the engine does not answer. Cure: start it"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def driver() -> MemoryDriver:
    return MemoryDriver(unavailable=DOWN, passing=True)


class World:
    """A pool over a driver, and how often it said that it can run now."""

    def __init__(self, driver: MemoryDriver, clock: ManualClock) -> None:
        self.came = 0
        self.fault: Exception | None = None
        self.pool = Pool(driver, budget_bytes=4096 * MEBIBYTE, standbys=2, clock=clock, on_available=self.on_available)

    async def on_available(self) -> None:
        assert self.pool.unavailable is None
        self.came += 1
        if self.fault is not None:
            raise self.fault


@asynccontextmanager
async def opened(driver: MemoryDriver, clock: ManualClock) -> AsyncIterator[World]:
    world = World(driver, clock)
    await world.pool.open()
    await settle()
    try:
        yield world
    finally:
        await world.pool.close()
        assert not driver.living()
        assert clock.pending() == 0


async def test_callers_are_refused_until_it_runs_and_served_from_then_on(
    driver: MemoryDriver, clock: ManualClock
) -> None:
    async with opened(driver, clock) as world:
        with pytest.raises(DriverUnavailable, match="does not answer") as refusal:
            await world.pool.acquire(application())
        assert refusal.value.passing
        assert world.pool.stats()["standbys"] == 0

        driver.unavailable = ""
        await clock.advance(1)
        assert world.pool.unavailable is None
        assert world.pool.stats()["standbys"] == 2
        assert (await world.pool.acquire(application())).instance.alive


async def test_it_is_tried_less_and_less_often_but_four_times_a_minute_at_least(
    driver: MemoryDriver, clock: ManualClock
) -> None:
    async with opened(driver, clock):
        tried_at, before = [], driver.tries
        for second in range(1, 61):
            await clock.advance(1)
            if driver.tries > before:
                tried_at.append(second)
            before = driver.tries
        assert tried_at == [1, 3, 7, 15, 30, 45, 60]


async def test_what_is_to_stay_warm_starts_as_soon_as_it_can(driver: MemoryDriver, clock: ManualClock) -> None:
    async with opened(driver, clock) as world:
        world.pool.keep_project("id-shop", [application(min_warm=2)])
        await clock.advance(10)
        driver.unavailable = ""
        await clock.advance(15)
        assert len(driver.serving("hello")) == 2


async def test_it_is_said_once_that_everything_can_run(driver: MemoryDriver, clock: ManualClock) -> None:
    async with opened(driver, clock) as world:
        await clock.advance(30)
        assert world.came == 0
        driver.unavailable = ""
        await clock.advance(600)
        assert world.came == 1
    driver.unavailable = ""
    async with opened(driver, clock) as world:
        await clock.advance(600)
        assert world.came == 0


async def test_whoever_fails_at_hearing_that_it_runs_does_not_keep_it_from_running(
    driver: MemoryDriver, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(driver, clock) as world:
        world.fault = RuntimeError("a bug in who hears it")
        driver.unavailable = ""
        await clock.advance(1)
        assert "a bug in who hears it" in caplog.text
        assert (await world.pool.acquire(application())).instance.alive


async def test_what_does_not_pass_is_not_tried_again(
    driver: MemoryDriver, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(driver, clock) as world:
        driver.unavailable, driver.passing = "the engine is too old", False
        await clock.advance(1)
        assert "functions cannot run: the engine is too old" in caplog.text
        tried = driver.tries
        driver.unavailable = ""
        await clock.advance(600)
        assert driver.tries == tried
        assert str(world.pool.unavailable) == "the engine is too old"


async def test_a_fault_in_one_try_is_not_the_end_of_all_tries(
    driver: MemoryDriver, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(driver, clock) as world:
        driver.breaks_in_open = ConnectionError("half an answer")
        await clock.advance(5)
        assert "half an answer" in caplog.text
        driver.breaks_in_open, driver.unavailable = None, ""
        await clock.advance(15)
        assert world.pool.unavailable is None


async def test_a_kind_that_was_expected_long_before_has_its_standby(driver: MemoryDriver, clock: ManualClock) -> None:
    async with opened(driver, clock) as world:
        world.pool.keep_project("id-shop", [application(layer="abc")])
        await clock.advance(2 * KIND_SECONDS)
        driver.unavailable = ""
        await clock.advance(60)
        assert Kind("abc", Network.OFF) in [instance.kind for instance in driver.living()]
