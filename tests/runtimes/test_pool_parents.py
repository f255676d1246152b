"""When a version has a parent to fork, who starts from it, and when it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from clowdy.runtimes.api import Application, Instance, Network, StartFailed
from clowdy.runtimes.pool import Pool
from clowdy.schema.units import MEBIBYTE
from tests.runtimes.manual_clock import ManualClock, settle
from tests.runtimes.memory_driver import Behaviour, MemoryDriver, application, failing

SLOW = Behaviour(import_ms=200.0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def driver() -> MemoryDriver:
    return MemoryDriver(can_fork=True, behaviours={"hello": SLOW, "other": SLOW})


async def opened(driver: MemoryDriver, clock: ManualClock, budget: int, standbys: int = 0) -> Pool:
    pool = Pool(driver, budget_bytes=budget * MEBIBYTE, standbys=standbys, clock=clock)
    await pool.open()
    await settle()
    return pool


@pytest.fixture
async def pool(driver: MemoryDriver, clock: ManualClock) -> AsyncIterator[Pool]:
    pool = await opened(driver, clock, 4096)
    yield pool
    await settle()
    assert pool.stats()["used"] == driver.memory()
    assert pool.stats()["parents"] == len(driver.standing())
    await pool.close()
    assert not driver.living()
    assert not driver.standing()


async def start(pool: Pool, wanted: Application) -> Instance:
    instance = (await pool.acquire(wanted)).instance
    await settle()
    return instance


async def idle(pool: Pool, wanted: Application) -> Instance:
    instance = await start(pool, wanted)
    pool.release(instance)
    return instance


def forked(instance: Instance) -> bool:
    return instance.id.startswith("child")


async def test_the_first_instance_is_started_as_any_other_and_further_ones_are_forked(
    pool: Pool, driver: MemoryDriver
) -> None:
    instances = [await start(pool, application()) for _ in range(3)]
    assert [forked(instance) for instance in instances] == [False, True, True]
    assert [parent.application.function for parent in driver.parents] == ["hello"]
    assert driver.started == 1


async def test_a_start_after_an_idle_reap_is_forked(pool: Pool, driver: MemoryDriver, clock: ManualClock) -> None:
    await idle(pool, application())
    await clock.advance(305)
    assert not driver.living()
    lease = await pool.acquire(application())
    assert forked(lease.instance)
    assert lease.cold


async def test_a_parent_goes_when_its_version_had_no_instance_for_five_minutes(
    pool: Pool, driver: MemoryDriver, clock: ManualClock
) -> None:
    await idle(pool, application())
    await idle(pool, application())
    for _ in range(61):
        await clock.advance(5)
    assert not driver.living()
    assert driver.standing()
    for _ in range(61):
        await clock.advance(5)
    assert not driver.standing()


async def test_a_parent_stays_while_an_instance_of_it_is_there(
    pool: Pool, driver: MemoryDriver, clock: ManualClock
) -> None:
    first, second = [await start(pool, application()) for _ in range(2)]
    pool.release(first)
    for _ in range(130):
        await clock.advance(5)
    assert [instance.id for instance in driver.living()] == [second.id]
    assert driver.standing()


@pytest.mark.parametrize(
    "wanted",
    [
        application("quick"),
        application(concurrency=1),
        application(network=Network.ON),
    ],
)
async def test_no_parent_is_prepared_where_it_does_not_pay_or_must_not_be(
    pool: Pool, driver: MemoryDriver, wanted: Application
) -> None:
    await idle(pool, wanted)
    assert not driver.parents


async def test_a_driver_that_cannot_fork_has_none(pool: Pool, driver: MemoryDriver) -> None:
    driver.can_fork = False
    await idle(pool, application())
    assert not driver.parents


@pytest.mark.parametrize("other", [application(version=2), application(secrets="new"), application(project="bakery")])
async def test_no_other_version_secret_or_project_starts_from_a_parent(pool: Pool, other: Application) -> None:
    await idle(pool, application())
    assert not forked(await start(pool, other))


async def test_a_version_that_cannot_be_forked_is_not_tried_again(pool: Pool, driver: MemoryDriver) -> None:
    driver.refuses.add("hello")
    instances = [await start(pool, application()) for _ in range(3)]
    assert not any(map(forked, instances))
    assert driver.asked_to_prepare == 1


async def test_a_version_whose_fork_failed_has_no_other_parent(pool: Pool, driver: MemoryDriver) -> None:
    await start(pool, application())
    driver.behaviours["hello"] = Behaviour(import_ms=200.0, forks=False)
    instances = [await start(pool, application()) for _ in range(2)]
    assert not any(map(forked, instances))
    assert len(driver.parents) == 1
    assert not driver.standing()


async def test_children_outlive_that_their_parent_forks_no_more(pool: Pool, driver: MemoryDriver) -> None:
    _, child = [await start(pool, application()) for _ in range(2)]
    driver.behaviours["hello"] = Behaviour(import_ms=200.0, forks=False)
    assert not forked(await start(pool, application()))
    assert child.alive
    assert driver.standing()
    await child.kill()
    pool.reap()
    await settle()
    assert not driver.standing()


async def test_a_start_that_fails_in_a_child_is_tried_as_any_other(pool: Pool, driver: MemoryDriver) -> None:
    await (await idle(pool, application())).kill()
    driver.behaviours["hello"] = Behaviour(import_ms=200.0, forks=False, fails=failing())
    with pytest.raises(StartFailed, match="boom"):
        await pool.acquire(application())
    assert not driver.standing()


async def test_a_fork_that_never_ends_is_given_up_with_its_time(
    pool: Pool, driver: MemoryDriver, clock: ManualClock
) -> None:
    await start(pool, application())
    driver.behaviours["hello"] = Behaviour(import_ms=200.0, forking=asyncio.Event())
    caller = asyncio.ensure_future(pool.acquire(application()))
    await settle()
    await clock.advance(11.5)
    assert not driver.standing()
    await clock.advance(60)
    with pytest.raises(Exception, match="busy"):
        await caller


async def test_a_parent_that_dies_is_forgotten_with_its_children(pool: Pool, driver: MemoryDriver) -> None:
    first, child = [await start(pool, application()) for _ in range(2)]
    driver.parents[0].die()
    await settle()
    assert (first.alive, child.alive) == (True, False)
    assert not forked(await start(pool, application()))
    assert len(driver.parents) == 1


async def test_parents_are_prepared_with_memory_to_spare_alone(driver: MemoryDriver, clock: ManualClock) -> None:
    pool = await opened(driver, clock, 270)
    await start(pool, application())
    assert not driver.parents
    await pool.close()


async def test_a_parent_without_children_makes_room_before_an_idle_instance(
    driver: MemoryDriver, clock: ManualClock
) -> None:
    pool = await opened(driver, clock, 128 * 2 + 16, standbys=0)
    kept = await idle(pool, application())
    assert driver.standing()
    await start(pool, application("quick"))
    assert kept.alive
    assert not driver.standing()
    assert pool.stats()["used"] == driver.memory()
    await pool.close()


async def test_a_parent_with_children_makes_no_room(driver: MemoryDriver, clock: ManualClock) -> None:
    pool = await opened(driver, clock, 128 * 3 + 16)
    first = await start(pool, application())
    child = await idle(pool, application())
    pool.release(first)
    clock.time += 1
    pool.release(await start(pool, application()))
    await start(pool, application("quick"))
    assert [first.alive, child.alive].count(False) == 1
    assert pool.stats()["used"] == driver.memory()
    await pool.close()


async def test_one_that_is_being_prepared_makes_room(driver: MemoryDriver, clock: ManualClock) -> None:
    driver.preparing = asyncio.Event()
    pool = await opened(driver, clock, 128 * 2 + 16)
    kept = await idle(pool, application())
    await start(pool, application("quick"))
    assert kept.alive
    assert not driver.parents
    assert pool.stats()["used"] == driver.memory()
    await pool.close()


async def test_a_version_that_is_started_again_has_its_parent_imported_again(pool: Pool, driver: MemoryDriver) -> None:
    await idle(pool, application())
    await idle(pool, application())
    await pool.retire([application().key])
    await settle()
    assert not driver.standing()
    assert not forked(await start(pool, application()))
    assert forked(await start(pool, application()))


async def test_a_parent_ends_with_its_project(pool: Pool, driver: MemoryDriver) -> None:
    await start(pool, application())
    child = await start(pool, application())
    await start(pool, application("other", project="bakery"))
    await pool.end_project("id-shop")
    assert not child.alive
    assert [parent.application.project for parent in driver.standing()] == ["bakery"]


async def test_one_that_is_being_prepared_ends_with_its_project(pool: Pool, driver: MemoryDriver) -> None:
    driver.preparing = asyncio.Event()
    await start(pool, application())
    await pool.end_project("id-shop")
    driver.preparing.set()
    await settle()
    assert not driver.parents


async def test_what_a_push_tried_has_a_parent_once_it_serves(pool: Pool, driver: MemoryDriver) -> None:
    await pool.start_first(application())
    await settle()
    assert not driver.parents
    pool.keep_project("id-shop", [application()])
    await settle()
    assert len(driver.parents) == 1
