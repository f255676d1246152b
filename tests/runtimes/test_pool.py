"""Leases: who gets which instance, who waits, and what those get who do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from clowdy.runtimes.api import Application, Call, DriverUnavailable, FailureCode, Instance, StartFailed, StartReason
from clowdy.runtimes.pool import Busy, Lease, NoMemory, Pool, Withdrawn
from clowdy.schema.units import MEBIBYTE
from tests.runtimes.manual_clock import ManualClock, settle
from tests.runtimes.memory_driver import Behaviour, MemoryDriver, MemoryInstance, application, failing


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def driver() -> MemoryDriver:
    return MemoryDriver()


@pytest.fixture
async def pool(driver: MemoryDriver, clock: ManualClock) -> AsyncIterator[Pool]:
    pool = Pool(driver, budget_bytes=4096 * MEBIBYTE, standbys=2, clock=clock)
    await pool.open()
    await settle()
    yield pool
    await pool.close()
    assert not driver.living()


async def waiting(pool: Pool, wanted: Application, number: int) -> list[asyncio.Task[Lease]]:
    """`number` callers who came in this order."""
    tasks = []
    for _ in range(number):
        tasks.append(asyncio.ensure_future(pool.acquire(wanted)))
        await asyncio.sleep(0)
    await settle()
    return tasks


async def busy(pool: Pool, wanted: Application, number: int) -> list[Instance]:
    """`number` instances, all leased."""
    return [(await pool.acquire(wanted)).instance for _ in range(number)]


class Nobody:
    """A sink whose client has left."""

    def log(self, text: bytes) -> None: ...
    def result(self, head: bytes, body: bytes) -> None: ...
    def head(self, head: bytes) -> None: ...
    def piece(self, body: bytes) -> None: ...
    def end(self) -> None: ...
    def failed(self, code: FailureCode, text: str) -> None: ...


async def test_a_version_without_an_instance_has_no_lease_at_once(pool: Pool) -> None:
    assert pool.lease(application()) is None


async def test_the_first_call_is_cold_and_the_next_is_warm(pool: Pool) -> None:
    first = await pool.acquire(application())
    pool.release(first.instance)
    second = await pool.acquire(application())

    assert (first.cold, second.cold) == (True, False)
    assert first.instance is second.instance


async def test_a_warm_lease_waits_for_nothing(pool: Pool) -> None:
    instance = (await pool.acquire(application())).instance
    pool.release(instance)

    assert pool.lease(application()) is instance
    assert pool.lease(application()) is None


async def test_the_most_recently_used_instance_is_leased(pool: Pool, clock: ManualClock) -> None:
    one, two, three = await busy(pool, application(), 3)
    for instance in (one, three, two):
        clock.time += 1
        pool.release(instance)

    assert [pool.lease(application()) for _ in range(3)] == [two, three, one]


async def test_a_throttled_instance_is_passed_over(pool: Pool, driver: MemoryDriver) -> None:
    one, two = await busy(pool, application(), 2)
    pool.release(one)
    pool.release(two)
    next(instance for instance in driver.instances if instance is two).throttled = True

    assert pool.lease(application()) is one
    assert pool.lease(application()) is two


async def test_versions_and_projects_never_share_an_instance(pool: Pool) -> None:
    instances = [
        (await pool.acquire(wanted)).instance
        for wanted in (application(), application(version=2), application(project="other"), application(secrets="x"))
    ]
    for instance in instances:
        pool.release(instance)

    assert len({instance.id for instance in instances}) == 4
    assert pool.lease(application(version=2)) is instances[1]


async def test_a_dead_instance_is_never_leased(pool: Pool, driver: MemoryDriver) -> None:
    instance = (await pool.acquire(application())).instance
    pool.release(instance)
    driver.serving("hello")[0].alive = False

    assert pool.lease(application()) is None


async def test_an_instance_takes_as_many_calls_as_parallel_says(pool: Pool) -> None:
    wanted = application(parallel=3)
    first = (await pool.acquire(wanted)).instance

    assert [pool.lease(wanted), pool.lease(wanted), pool.lease(wanted)] == [first, first, None]
    pool.release(first)
    assert pool.lease(wanted) is first


async def test_callers_of_a_parallel_version_share_one_start(pool: Pool, driver: MemoryDriver) -> None:
    tasks = await waiting(pool, application(parallel=4), 4)

    assert len({task.result().instance.id for task in tasks}) == 1
    assert len(driver.serving("hello")) == 1


async def test_each_concurrent_caller_gets_an_instance_up_to_concurrency(pool: Pool, driver: MemoryDriver) -> None:
    tasks = await waiting(pool, application(concurrency=2), 3)

    assert [task.done() for task in tasks] == [True, True, False]
    assert len(driver.serving("hello")) == 2

    pool.release(tasks[1].result().instance)
    await settle()
    assert tasks[2].result() == Lease(tasks[1].result().instance, cold=False)


async def test_those_who_wait_are_served_in_their_order(pool: Pool) -> None:
    wanted = application(concurrency=1)
    (instance,) = await busy(pool, wanted, 1)
    tasks = await waiting(pool, wanted, 3)

    for served in range(1, 4):
        pool.release(instance)
        await settle()
        assert [task.done() for task in tasks] == [True] * served + [False] * (3 - served)


async def test_a_lease_never_overtakes_those_who_wait(pool: Pool) -> None:
    wanted = application(concurrency=1)
    (instance,) = await busy(pool, wanted, 1)
    (task,) = await waiting(pool, wanted, 1)
    pool.release(instance)

    assert pool.lease(wanted) is None
    await settle()
    assert task.result().instance is instance


async def test_a_caller_waits_ten_seconds_and_is_told_that_all_are_busy(pool: Pool, clock: ManualClock) -> None:
    wanted = application(concurrency=1)
    await busy(pool, wanted, 1)
    (task,) = await waiting(pool, wanted, 1)

    await clock.advance(9.9)
    assert not task.done()
    await clock.advance(0.2)
    with pytest.raises(Busy) as refusal:
        task.result()
    assert refusal.value.retry_after >= 1


async def test_the_hundred_and_first_caller_is_refused_at_once(pool: Pool) -> None:
    wanted = application(concurrency=1)
    (instance,) = await busy(pool, wanted, 1)
    tasks = await waiting(pool, wanted, 100)

    with pytest.raises(Busy):
        await pool.acquire(wanted)
    assert await pool.acquire(application("other"))

    pool.release(instance)
    await settle()
    assert tasks[0].done()
    (late,) = await waiting(pool, wanted, 1)
    assert not late.done()


async def test_a_caller_who_leaves_leaves_a_warm_instance_behind(pool: Pool, driver: MemoryDriver) -> None:
    driver.behaviours["hello"] = Behaviour(held=asyncio.Event())
    (task,) = await waiting(pool, application(), 1)
    task.cancel()
    await settle()
    driver.behaviours["hello"].held.set()
    await settle()

    assert task.cancelled()
    assert pool.lease(application()) is not None


async def test_a_caller_who_leaves_in_the_moment_of_being_served_loses_nothing(pool: Pool) -> None:
    wanted = application(concurrency=1)
    (instance,) = await busy(pool, wanted, 1)
    first, second = await waiting(pool, wanted, 2)
    pool.release(instance)
    first.cancel()
    await settle()

    assert first.cancelled()
    assert second.result().instance is instance


async def test_a_caller_who_left_is_not_served(pool: Pool) -> None:
    wanted = application(concurrency=1)
    (instance,) = await busy(pool, wanted, 1)
    first, second = await waiting(pool, wanted, 2)
    first.cancel()
    await settle()
    pool.release(instance)
    await settle()

    assert second.result().instance is instance


async def test_a_caller_who_leaves_in_the_moment_before_is_passed_over(pool: Pool) -> None:
    wanted = application(concurrency=1)
    (instance,) = await busy(pool, wanted, 1)
    first, second = await waiting(pool, wanted, 2)
    first.cancel()
    pool.release(instance)
    await settle()

    assert second.result().instance is instance


async def test_a_crash_lets_those_who_wait_start_another(pool: Pool, driver: MemoryDriver) -> None:
    wanted = application(concurrency=1)
    (instance,) = await busy(pool, wanted, 1)
    (task,) = await waiting(pool, wanted, 1)
    driver.serving("hello")[0].die()
    await settle()

    assert task.result().cold
    assert task.result().instance is not instance
    pool.release(instance)
    assert pool.lease(wanted) is None


async def test_a_failed_start_is_told_to_its_caller_with_its_log(pool: Pool, driver: MemoryDriver) -> None:
    driver.behaviours["hello"] = Behaviour(fails=failing("Traceback: boom"))
    with pytest.raises(StartFailed) as failure:
        await pool.acquire(application())

    assert (failure.value.text, failure.value.log) == ("Traceback: boom", "printed")
    assert pool.stats()["total"] == 0


async def test_everybody_who_waits_for_a_start_that_fails_gets_the_reason(pool: Pool, driver: MemoryDriver) -> None:
    driver.behaviours["hello"] = Behaviour(fails=failing())
    tasks = await waiting(pool, application(concurrency=4), 30)

    errors = [task.exception() for task in tasks]
    assert all(isinstance(error, StartFailed) for error in errors)
    assert len({id(error) for error in errors}) == 30


async def test_the_call_after_a_failed_start_tries_again(pool: Pool, driver: MemoryDriver) -> None:
    driver.behaviours["hello"] = Behaviour(fails=failing())
    with pytest.raises(StartFailed):
        await pool.acquire(application())
    del driver.behaviours["hello"]

    assert (await pool.acquire(application())).cold


async def test_what_keeps_failing_is_left_alone_for_a_while(
    pool: Pool, driver: MemoryDriver, clock: ManualClock
) -> None:
    driver.behaviours["hello"] = Behaviour(fails=failing())
    tried = []
    for _ in range(60):
        with pytest.raises(StartFailed):
            await pool.acquire(application())
        tried.append(len([one for one in driver.instances if one.application is not None]))
        await clock.advance(1.01)

    attempts = tried[-1]
    assert attempts < 12
    assert sum(after > before for before, after in pairwise(tried)) < 12
    del driver.behaviours["hello"]
    await clock.advance(30)
    assert (await pool.acquire(application())).cold


async def test_a_start_that_hangs_ends_after_ten_seconds(pool: Pool, driver: MemoryDriver, clock: ManualClock) -> None:
    driver.behaviours["hello"] = Behaviour(held=asyncio.Event())
    tasks = await waiting(pool, application(concurrency=1), 3)
    await clock.advance(11.1)

    for task in tasks:
        with pytest.raises((StartFailed, Busy)):
            task.result()
    with pytest.raises(StartFailed) as failure:
        tasks[0].result()
    assert failure.value.reason is StartReason.TIMEOUT
    assert driver.serving("hello") == []


async def test_a_driver_that_hangs_keeps_nobody_waiting(pool: Pool, driver: MemoryDriver, clock: ManualClock) -> None:
    await busy(pool, application("other"), 2)
    driver.gate = asyncio.Event()
    tasks = await waiting(pool, application(), 3)
    await clock.advance(31)

    assert all(isinstance(task.exception(), StartFailed) for task in tasks)


async def test_a_bug_in_a_driver_is_a_failed_start(
    pool: Pool, driver: MemoryDriver, caplog: pytest.LogCaptureFixture
) -> None:
    driver.behaviours["hello"] = Behaviour(broken=True)
    with pytest.raises(StartFailed) as failure:
        await pool.acquire(application())

    assert failure.value.reason is StartReason.RUNTIME
    assert "a bug in the driver" in caplog.text


async def test_an_instance_that_dies_as_it_starts_is_a_failed_start(pool: Pool, driver: MemoryDriver) -> None:
    driver.behaviours["hello"] = Behaviour(dies_at_once=True)
    with pytest.raises(StartFailed) as failure:
        await pool.acquire(application())

    assert failure.value.reason is StartReason.CRASHED
    assert pool.stats()["total"] == 0


async def test_a_driver_that_cannot_run_here_says_so_to_every_caller(clock: ManualClock) -> None:
    pool = Pool(MemoryDriver(unavailable="no user namespaces"), budget_bytes=10**9, clock=clock)
    await pool.open()

    assert "no user namespaces" in str(pool.unavailable)
    with pytest.raises(DriverUnavailable, match="no user namespaces"):
        await pool.acquire(application())
    await pool.close()


async def test_a_driver_that_fails_later_says_so_to_those_who_wait(pool: Pool, driver: MemoryDriver) -> None:
    await busy(pool, application(), 2)
    driver.unavailable = "the engine is gone"
    with pytest.raises(DriverUnavailable, match="the engine is gone"):
        await pool.acquire(application("other"))


async def test_closing_tells_those_who_wait_and_ends_every_instance(driver: MemoryDriver, clock: ManualClock) -> None:
    pool = Pool(driver, budget_bytes=4096 * MEBIBYTE, standbys=2, clock=clock)
    await pool.open()
    wanted = application(concurrency=1)
    await busy(pool, wanted, 1)
    (task,) = await waiting(pool, wanted, 1)
    await pool.close()

    assert isinstance(task.exception(), Withdrawn)
    assert driver.living() == []
    assert clock.pending() == 0
    with pytest.raises(Withdrawn):
        await pool.acquire(wanted)


async def test_no_memory_comes_with_a_time_to_try_again() -> None:
    assert NoMemory("full").retry_after > 0


async def test_an_instance_that_may_end_with_a_late_call_takes_no_other_until_it_says_that_it_ended(
    pool: Pool, driver: MemoryDriver
) -> None:
    only = application(concurrency=1, parallel=2)
    doubtful, calls = await with_a_late_call(pool, driver, only)

    assert pool.lease(only) is None
    (waiter,) = await waiting(pool, only, 1)
    assert not waiter.done()
    # One of the others ends: what it had may not be lent again.
    pool.release(doubtful)
    await settle()
    assert not waiter.done()
    doubtful.gives_up(calls[0])
    await settle()
    assert (await waiter).instance is doubtful
    assert pool.lease(only) is doubtful


async def test_beside_an_instance_that_may_end_with_a_late_call_another_starts(
    pool: Pool, driver: MemoryDriver
) -> None:
    two = application(concurrency=2, parallel=2)
    doubtful, _ = await with_a_late_call(pool, driver, two)

    other = (await pool.acquire(two)).instance
    assert other is not doubtful
    assert pool.lease(two) is other


async def with_a_late_call(
    pool: Pool, driver: MemoryDriver, application: Application
) -> tuple[MemoryInstance, list[int]]:
    """An instance with two calls, of which the first was over its time and has not ended."""
    await pool.acquire(application)
    (instance,) = driver.serving("hello")
    assert pool.lease(application) is instance
    calls = [instance.call(Call(b"", b"", 20, Nobody())) for _ in range(2)]
    instance.exceeds(calls[0])
    pool.release(instance)
    return instance, calls


async def test_a_caller_is_told_whether_what_is_wrong_may_pass(pool: Pool, driver: MemoryDriver) -> None:
    await busy(pool, application(), 2)
    for passing in (True, False):
        driver.unavailable, driver.passing = "the engine is gone", passing
        with pytest.raises(DriverUnavailable) as refusal:
            await pool.acquire(application(f"other{passing}"))
        assert refusal.value.passing is passing
