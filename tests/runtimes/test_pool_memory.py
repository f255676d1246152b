"""Who may have memory, who goes first when it is short, and what is kept ready or reaped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from clowdy.runtimes.api import (
    Application,
    DriverUnavailable,
    Handler,
    Instance,
    Kind,
    Network,
    Ready,
    StartFailed,
    StartReason,
)
from clowdy.runtimes.pool import Lease, NoMemory, Pool, Withdrawn
from clowdy.schema.units import MEBIBYTE
from tests.runtimes.manual_clock import ManualClock, settle
from tests.runtimes.memory_driver import Behaviour, MemoryDriver, application, failing


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def driver() -> MemoryDriver:
    return MemoryDriver()


async def opened(driver: MemoryDriver, clock: ManualClock, *, budget: int, standbys: int = 0) -> Pool:
    pool = Pool(driver, budget_bytes=budget * MEBIBYTE, standbys=standbys, clock=clock)
    await pool.open()
    await settle()
    return pool


@pytest.fixture
async def pool(driver: MemoryDriver, clock: ManualClock) -> AsyncIterator[Pool]:
    """Room for four instances of the default size and no standby."""
    pool = await opened(driver, clock, budget=512)
    yield pool
    assert_counted(pool, driver)
    await pool.close()


def assert_counted(pool: Pool, driver: MemoryDriver) -> None:
    """What the pool counts is what is there."""
    assert pool.stats()["used"] == driver.memory()
    assert pool.stats()["used"] <= pool.stats()["budget"]


async def idle(pool: Pool, clock: ManualClock, *wanted: Application) -> Sequence[Instance]:
    """An idle instance of each, the first the least recently used."""
    leases = [(await pool.acquire(one)).instance for one in wanted]
    for instance in leases:
        clock.time += 1
        pool.release(instance)
    return leases


async def caller(pool: Pool, wanted: Application) -> asyncio.Task[Lease]:
    task = asyncio.ensure_future(pool.acquire(wanted))
    await settle()
    return task


def functions(driver: MemoryDriver) -> list[str]:
    return sorted(one.application.function for one in driver.living() if one.application is not None)


# Standbys.


async def test_standbys_of_the_plain_kind_are_kept(driver: MemoryDriver, clock: ManualClock) -> None:
    pool = await opened(driver, clock, budget=1024, standbys=3)

    assert pool.stats()["standbys"] == 3
    assert driver.most_starting == 1
    assert_counted(pool, driver)

    await pool.acquire(application())
    await settle()
    assert pool.stats()["standbys"] == 3
    assert driver.started == 4
    assert_counted(pool, driver)
    await pool.close()


async def test_a_cold_start_takes_a_standby(driver: MemoryDriver, clock: ManualClock) -> None:
    pool = await opened(driver, clock, budget=1024, standbys=1)
    driver.gate = asyncio.Event()

    assert (await pool.acquire(application())).instance is driver.instances[0]
    driver.gate.set()
    await pool.close()


async def test_no_standby_is_started_while_a_caller_waits_for_a_start(driver: MemoryDriver, clock: ManualClock) -> None:
    pool = await opened(driver, clock, budget=1024, standbys=1)
    driver.behaviours["hello"] = Behaviour(held=asyncio.Event())
    task = await caller(pool, application())
    assert (driver.started, pool.stats()["standbys"]) == (1, 0)

    driver.behaviours["hello"].held.set()
    await settle()
    assert task.done()
    assert (driver.started, pool.stats()["standbys"]) == (2, 1)
    await pool.close()


async def test_a_standby_that_is_being_started_goes_before_an_idle_instance(
    driver: MemoryDriver, clock: ManualClock
) -> None:
    pool = await opened(driver, clock, budget=136, standbys=1)
    driver.gate = asyncio.Event()
    first = (await pool.acquire(application("first", memory=64))).instance
    pool.release(first)
    await settle()
    assert pool.stats()["used"] == 80 * MEBIBYTE

    task = await caller(pool, application("second", memory=64))
    driver.gate.set()
    await settle()
    assert task.done()
    assert first.alive
    assert_counted(pool, driver)
    await pool.close()


async def test_another_kind_has_one_standby_for_an_hour_after_its_use(driver: MemoryDriver, clock: ManualClock) -> None:
    pool = await opened(driver, clock, budget=1024, standbys=1)
    wanted = application(layer="numpy", network=Network.ON)
    pool.release((await pool.acquire(wanted)).instance)
    await settle()
    assert pool.stats()["standbys"] == 2
    assert driver.living()[-1].kind == wanted_kind(wanted)

    await clock.advance(3500)
    assert pool.stats()["standbys"] == 2
    await clock.advance(200)
    assert pool.stats()["standbys"] == 1
    assert_counted(pool, driver)
    await pool.close()


async def test_what_connects_an_instance_counts_as_well(driver: MemoryDriver, clock: ManualClock) -> None:
    pool = await opened(driver, clock, budget=336, standbys=1)
    wanted = application(network=Network.ON)
    one = (await pool.acquire(wanted)).instance
    await settle()
    assert pool.stats()["used"] == (128 + 32 + 16 + 16 + 32) * MEBIBYTE
    other = (await pool.acquire(wanted)).instance
    assert pool.stats()["used"] == 2 * (128 + 32) * MEBIBYTE + 16 * MEBIBYTE
    assert_counted(pool, driver)
    await settle()
    assert pool.stats()["standbys"] == 1, "there is no room for a connected one"

    pool.release(one)
    pool.release(other)
    await pool.acquire(application("plain"))
    await settle()
    assert_counted(pool, driver)
    await pool.close()


async def test_a_function_and_what_connects_it_must_fit(driver: MemoryDriver, clock: ManualClock) -> None:
    pool = await opened(driver, clock, budget=128)
    assert (await pool.acquire(application())).cold
    with pytest.raises(NoMemory, match="connected needs more memory than all functions together"):
        await pool.acquire(application("connected", network=Network.ON))
    await pool.close()


async def test_kinds_of_what_serves_have_a_standby_before_the_first_call(
    driver: MemoryDriver, clock: ManualClock
) -> None:
    pool = await opened(driver, clock, budget=1024, standbys=1)
    layered, connected = application("layered", layer="numpy"), application("connected", network=Network.ON)
    pool.keep_project("id-shop", [application(), layered, connected, application("second", layer="numpy")])
    await settle()
    assert [each.kind for each in driver.living()] == [
        Kind(None, Network.OFF),
        wanted_kind(layered),
        wanted_kind(connected),
    ]
    started = driver.started
    assert (await pool.acquire(layered)).instance in driver.instances[:started]
    await settle()
    assert pool.stats()["standbys"] == 3

    await clock.advance(3700)
    assert pool.stats()["standbys"] == 1
    assert_counted(pool, driver)
    await pool.close()


async def test_standbys_that_nobody_used_leave_half_of_the_memory(driver: MemoryDriver, clock: ManualClock) -> None:
    pool = await opened(driver, clock, budget=320, standbys=1)
    pool.keep_project("id-shop", [application(f"f{number}", layer=f"layer{number}") for number in range(30)])
    await settle()
    assert pool.stats()["standbys"] == 10

    used = application("f29", layer="layer29", memory=64)
    pool.release((await pool.acquire(used)).instance)
    await settle()
    assert driver.living()[-1].kind == wanted_kind(used)
    assert_counted(pool, driver)
    await pool.close()


def wanted_kind(wanted: Application) -> tuple[str | None, Network]:
    return (wanted.layer, wanted.network)


async def test_a_standby_is_only_for_its_kind(driver: MemoryDriver, clock: ManualClock) -> None:
    pool = await opened(driver, clock, budget=1024, standbys=1)
    instance = (await pool.acquire(application(network=Network.ON))).instance

    assert instance.kind == (None, Network.ON)
    assert driver.instances[0].application is None
    await pool.close()


async def test_a_kind_that_cannot_be_had_is_not_tried_again_until_it_is_used(
    driver: MemoryDriver, clock: ManualClock
) -> None:
    driver.missing.add("gone")
    pool = await opened(driver, clock, budget=1024, standbys=1)
    with pytest.raises(DriverUnavailable, match="gone is not there"):
        await pool.acquire(application("broken", layer="gone"))
    await clock.advance(600)

    assert driver.asked.count(Kind("gone", Network.OFF)) == 2
    assert pool.stats()["standbys"] == 1
    assert_counted(pool, driver)
    await pool.close()


async def test_a_standby_that_dies_is_replaced_but_not_in_a_hurry(driver: MemoryDriver, clock: ManualClock) -> None:
    pool = await opened(driver, clock, budget=1024, standbys=1)
    for _ in range(100):
        for instance in driver.living():
            instance.die("killed from outside")
        await clock.advance(1)

    assert driver.started < 15
    await clock.advance(60)
    assert pool.stats()["standbys"] == 1
    assert_counted(pool, driver)
    await pool.close()


async def test_standbys_never_take_memory_that_is_not_to_spare(driver: MemoryDriver, clock: ManualClock) -> None:
    pool = await opened(driver, clock, budget=150, standbys=8)
    pool.release((await pool.acquire(application())).instance)
    await settle()

    assert pool.stats()["standbys"] == 1
    assert functions(driver) == ["hello"]
    assert_counted(pool, driver)
    await pool.close()


# Making room.


async def test_standbys_go_before_idle_instances(driver: MemoryDriver, clock: ManualClock) -> None:
    pool = await opened(driver, clock, budget=300, standbys=2)
    await idle(pool, clock, application("a"))
    await settle()
    assert pool.stats()["standbys"] == 2
    await pool.acquire(application("b"))
    await settle()

    assert functions(driver) == ["a", "b"]
    assert pool.stats()["standbys"] == 2
    await pool.acquire(application("c", memory=32))
    assert functions(driver) == ["a", "b", "c"]
    assert_counted(pool, driver)
    await pool.close()


async def test_the_least_recently_used_idle_instance_goes(pool: Pool, driver: MemoryDriver, clock: ManualClock) -> None:
    await idle(pool, clock, *(application(name) for name in "bacd"))
    await pool.acquire(application("e"))
    assert functions(driver) == ["a", "c", "d", "e"]

    await pool.acquire(application("f", memory=256))
    assert functions(driver) == ["d", "e", "f"]


async def test_what_min_warm_keeps_goes_last(pool: Pool, driver: MemoryDriver, clock: ManualClock) -> None:
    warm = application("warm", min_warm=1)
    pool.keep_project("id-shop", [warm])
    await settle()
    await idle(pool, clock, *(application(name) for name in "abc"))

    for name in "def":
        await pool.acquire(application(name))
    assert functions(driver) == ["d", "e", "f", "warm"]
    await pool.acquire(application("g"))
    assert functions(driver) == ["d", "e", "f", "g"]


async def test_what_min_warm_kept_comes_back_when_there_is_room(
    pool: Pool, driver: MemoryDriver, clock: ManualClock
) -> None:
    pool.keep_project("id-shop", [application("warm", min_warm=1)])
    await settle()
    instance = (await pool.acquire(application("big", memory=512))).instance
    assert functions(driver) == ["big"]
    await clock.advance(20)
    assert functions(driver) == ["big"]

    pool.release(instance)
    await clock.advance(20)
    assert functions(driver) == ["warm"]


async def test_callers_wait_for_memory_until_an_instance_is_idle(
    pool: Pool, driver: MemoryDriver, clock: ManualClock
) -> None:
    leases = [(await pool.acquire(application(name))).instance for name in "abcd"]
    task = await caller(pool, application("e"))
    await clock.advance(5)
    assert not task.done()

    pool.release(leases[2])
    await settle()
    assert task.result().cold
    assert functions(driver) == ["a", "b", "d", "e"]


async def test_a_caller_gets_no_memory_after_ten_seconds(pool: Pool, clock: ManualClock) -> None:
    leases = [(await pool.acquire(application(name))).instance for name in "abcd"]
    task = await caller(pool, application("e"))
    await clock.advance(10.1)

    assert isinstance(task.exception(), NoMemory)
    pool.release(leases[0])
    await settle()
    assert pool.stats()["by_key"] == {f"shop/{name} v1": 1 for name in "abcd"}


async def test_who_left_does_not_make_others_go(pool: Pool, driver: MemoryDriver) -> None:
    leases = [(await pool.acquire(application(name))).instance for name in "abcd"]
    task = await caller(pool, application("e"))
    task.cancel()
    await settle()
    pool.release(leases[0])
    await settle()

    assert functions(driver) == ["a", "b", "c", "d"]


async def test_a_huge_function_that_waits_does_not_hold_up_small_ones(
    pool: Pool, driver: MemoryDriver, clock: ManualClock
) -> None:
    leases = [(await pool.acquire(application(name))).instance for name in "abcd"]
    huge = await caller(pool, application("huge", memory=512))
    small = await caller(pool, application("small"))
    pool.release(leases[0])
    await settle()

    assert small.done()
    assert not huge.done()
    await clock.advance(11)
    assert isinstance(huge.exception(), NoMemory)


async def test_a_death_makes_room(pool: Pool, driver: MemoryDriver) -> None:
    for name in "abcd":
        await pool.acquire(application(name))
    task = await caller(pool, application("e"))
    driver.serving("b")[0].die()
    await settle()

    assert task.done()


async def test_the_budget_holds_at_every_moment_of_a_rush(driver: MemoryDriver, clock: ManualClock) -> None:
    pool = await opened(driver, clock, budget=700, standbys=4)
    tasks = [
        asyncio.ensure_future(pool.acquire(application(f"f{number % 11}", memory=(32, 128, 200)[number % 3])))
        for number in range(60)
    ]
    served = 0
    for _ in range(400):
        await asyncio.sleep(0)
        assert driver.memory() <= 700 * MEBIBYTE
        for task in [task for task in tasks if task.done()]:
            tasks.remove(task)
            served += 1
            pool.release(task.result().instance)
    assert served == 60
    await settle()
    assert_counted(pool, driver)
    await pool.close()


async def test_a_function_that_never_fits_is_refused_at_once(pool: Pool) -> None:
    with pytest.raises(NoMemory, match="512 MB"):
        await pool.acquire(application(memory=600))
    with pytest.raises(NoMemory):
        await pool.start_first(application(memory=600))


async def test_a_failed_start_gives_its_memory_back(pool: Pool, driver: MemoryDriver) -> None:
    driver.behaviours["bad"] = Behaviour(fails=failing())
    for _ in range(3):
        with pytest.raises(StartFailed):
            await pool.acquire(application("bad", memory=400))
        await settle()

    assert pool.stats()["used"] == 0


# Reaping and keeping warm.


async def test_an_instance_that_nobody_used_for_five_minutes_is_reaped(
    pool: Pool, driver: MemoryDriver, clock: ManualClock
) -> None:
    await idle(pool, clock, application("a"))
    busy = (await pool.acquire(application("b"))).instance
    await clock.advance(290)
    assert functions(driver) == ["a", "b"]

    await clock.advance(20)
    assert functions(driver) == ["b"]
    pool.release(busy)
    await clock.advance(310)
    assert functions(driver) == []


async def test_min_warm_is_started_and_never_reaped(pool: Pool, driver: MemoryDriver, clock: ManualClock) -> None:
    warm = application("warm", min_warm=2)
    pool.keep_project("id-shop", [warm])
    await settle()
    assert functions(driver) == ["warm", "warm"]

    extra = [(await pool.acquire(warm)) for _ in range(3)]
    assert [lease.cold for lease in extra] == [False, False, True]
    for lease in extra:
        pool.release(lease.instance)
    await clock.advance(1000)
    assert functions(driver) == ["warm", "warm"]


async def test_min_warm_that_dies_is_restarted(pool: Pool, driver: MemoryDriver, clock: ManualClock) -> None:
    pool.keep_project("id-shop", [application("warm", min_warm=1)])
    await clock.advance(60)
    driver.serving("warm")[0].die()
    await settle()

    assert functions(driver) == ["warm"]


async def test_min_warm_that_never_stays_up_is_restarted_ever_more_rarely(
    pool: Pool, driver: MemoryDriver, clock: ManualClock
) -> None:
    pool.keep_project("id-shop", [application("warm", min_warm=1)])
    await settle()
    for _ in range(300):
        for instance in driver.serving("warm"):
            instance.die("exits at once")
        await clock.advance(1)

    assert 5 < driver.started < 25


async def test_min_warm_that_fails_to_start_is_tried_again_later(
    pool: Pool, driver: MemoryDriver, clock: ManualClock
) -> None:
    driver.behaviours["warm"] = Behaviour(fails=failing())
    pool.keep_project("id-shop", [application("warm", min_warm=1)])
    await clock.advance(600)
    assert 5 < driver.started < 40

    del driver.behaviours["warm"]
    await clock.advance(60)
    assert functions(driver) == ["warm"]


async def test_a_version_that_no_longer_serves_stays_warm_until_it_is_reaped(
    pool: Pool, driver: MemoryDriver, clock: ManualClock
) -> None:
    old, new = application("f", version=1, min_warm=1), application("f", version=2, min_warm=1)
    pool.keep_project("id-shop", [old])
    await settle()
    pool.keep_project("id-shop", [new])
    await clock.advance(100)

    instance = pool.lease(old)
    assert instance is not None
    pool.release(instance)
    await clock.advance(310)
    assert pool.stats()["by_key"] == {"shop/f v2": 1}


async def test_min_warm_of_the_same_version_follows_the_release(
    pool: Pool, driver: MemoryDriver, clock: ManualClock
) -> None:
    pool.keep_project("id-shop", [application("f", min_warm=2)])
    await settle()
    pool.keep_project("id-shop", [application("f", min_warm=1)])
    await clock.advance(400)

    assert functions(driver) == ["f"]


# Retiring and ending.


async def test_retired_instances_end_at_once_when_idle_and_after_their_call_when_not(
    pool: Pool, driver: MemoryDriver, clock: ManualClock
) -> None:
    old = application("f", secrets="old")
    await idle(pool, clock, old)
    running = pool.lease(old)
    assert running is not None
    other = (await pool.acquire(old)).instance
    pool.release(other)

    assert await pool.retire([old.key]) == 2
    assert [one for one in driver.living() if one is not running] == []
    assert pool.lease(old) is None
    pool.release(running)
    await settle()
    assert driver.living() == []


async def test_a_start_that_was_under_way_is_retired_too(pool: Pool, driver: MemoryDriver) -> None:
    old = application("f", secrets="old")
    driver.behaviours["f"] = Behaviour(held=asyncio.Event())
    task = await caller(pool, old)
    await pool.retire([old.key])
    driver.behaviours["f"].held.set()
    await settle()

    assert pool.lease(old) is None
    pool.release(task.result().instance)
    await settle()
    assert driver.living() == []


async def test_a_retired_version_can_start_again(pool: Pool, driver: MemoryDriver, clock: ManualClock) -> None:
    wanted = application("f")
    (before,) = await idle(pool, clock, wanted)
    await pool.retire([wanted.key])
    await pool.start_first(wanted)

    after = pool.lease(wanted)
    assert after is not None
    assert after is not before


async def test_ending_a_project_ends_its_calls_its_starts_and_its_callers(
    pool: Pool, driver: MemoryDriver, clock: ManualClock
) -> None:
    await idle(pool, clock, application("a", project="other"))
    await pool.acquire(application("b", concurrency=1))
    waiting = await caller(pool, application("b", concurrency=1))
    driver.behaviours["c"] = Behaviour(held=asyncio.Event())
    starting = await caller(pool, application("c"))
    pool.keep_project("id-shop", [application("d", min_warm=1)])
    await settle()
    await pool.end_project("id-shop")
    await settle()

    assert functions(driver) == ["a"]
    assert isinstance(waiting.exception(), Withdrawn)
    assert isinstance(starting.exception(), Withdrawn)
    await clock.advance(60)
    assert functions(driver) == ["a"]


# Trials.


async def test_a_trial_leaves_the_first_warm_instance(pool: Pool, driver: MemoryDriver) -> None:
    ready = await pool.start_first(application())

    assert ready.log == "started"
    assert (await pool.acquire(application())).cold is False
    assert await pool.start_first(application()) == ready
    assert len(driver.instances) == 1


async def test_a_failed_trial_says_why_and_leaves_nothing(pool: Pool, driver: MemoryDriver) -> None:
    driver.behaviours["hello"] = Behaviour(fails=failing("ImportError"))
    with pytest.raises(StartFailed, match="ImportError"):
        await pool.start_first(application())
    await settle()

    assert driver.living() == []


async def test_four_trials_run_at_once(pool: Pool, driver: MemoryDriver) -> None:
    gate = asyncio.Event()
    names = [f"f{number}" for number in range(6)]
    driver.behaviours = {name: Behaviour(held=gate) for name in names}
    trials = [asyncio.ensure_future(pool.start_first(application(name, memory=32))) for name in names]
    await settle()
    assert len(driver.living()) == 4

    gate.set()
    await asyncio.gather(*trials)
    assert len(driver.living()) == 6


async def test_callers_do_not_wait_for_a_trial_that_waits_for_its_turn(
    driver: MemoryDriver, clock: ManualClock
) -> None:
    pool = await opened(driver, clock, budget=4096)
    gate = asyncio.Event()
    driver.behaviours = {f"f{number}": Behaviour(held=gate) for number in range(4)}
    trials = [asyncio.ensure_future(pool.start_first(application(f"f{number}"))) for number in range(4)]
    await settle()
    trials.append(asyncio.ensure_future(pool.start_first(application("last"))))
    task = await caller(pool, application("last"))

    assert task.done()
    gate.set()
    await asyncio.gather(*trials)
    assert len(driver.serving("last")) == 1
    await pool.close()


async def test_a_trial_makes_room_and_waits_as_callers_do(pool: Pool, driver: MemoryDriver, clock: ManualClock) -> None:
    pool.keep_project("id-shop", [application("warm", min_warm=1)])
    await settle()
    busy = [(await pool.acquire(application(name))).instance for name in "abc"]
    await pool.start_first(application("new"))
    assert functions(driver) == ["a", "b", "c", "new"]

    new = pool.lease(application("new"))
    trial = asyncio.ensure_future(pool.start_first(application("newer")))
    await clock.advance(10.1)
    with pytest.raises(NoMemory):
        await trial
    assert new is not None
    assert len(busy) == 3


async def test_a_cancelled_trial_leaves_nothing(pool: Pool, driver: MemoryDriver) -> None:
    driver.behaviours["hello"] = Behaviour(held=asyncio.Event())
    trial = asyncio.ensure_future(pool.start_first(application()))
    await settle()
    trial.cancel()
    await settle()

    assert driver.living() == []
    assert pool.stats()["used"] == 0


async def test_a_probe_has_one_result_for_each_handler_and_ends_its_instance(pool: Pool, driver: MemoryDriver) -> None:
    driver.behaviours["bad"] = Behaviour(fails=failing())
    results: list[Ready | StartFailed] = []
    await pool.probe(application(), [Handler("a.py", "good"), Handler("a.py", "bad")], results.append)

    assert [type(result) for result in results] == [Ready, StartFailed]
    assert driver.living() == []
    assert pool.stats()["used"] == 0


@pytest.mark.parametrize("reason", [StartReason.TIMEOUT, StartReason.CRASHED, StartReason.OUT_OF_MEMORY])
async def test_those_after_one_that_ends_a_probe_are_tried_in_another(
    pool: Pool, driver: MemoryDriver, reason: StartReason
) -> None:
    driver.behaviours["bad"] = Behaviour(fails=StartFailed(reason, "it ended"))
    handlers = [Handler("a.py", name) for name in ("good", "bad", "good", "bad", "good")]
    results: list[Ready | StartFailed] = []
    await pool.probe(application(), handlers, results.append)

    assert [type(result) for result in results] == [Ready, StartFailed, Ready, StartFailed, Ready]
    assert len({instance.id for instance in driver.instances if instance.application is not None}) == 3
    assert driver.living() == []
    assert pool.stats()["used"] == 0


async def test_a_probe_whose_instance_keeps_no_time_is_ended_and_the_rest_is_tried(
    pool: Pool, driver: MemoryDriver, clock: ManualClock
) -> None:
    driver.behaviours["slow"] = Behaviour(held=asyncio.Event())
    results: list[Ready | StartFailed] = []
    handlers = [Handler("a.py", "slow"), Handler("a.py", "good")]
    probe = asyncio.ensure_future(pool.probe(application(), handlers, results.append, 30))
    await clock.advance(62)
    await probe

    assert [type(result) for result in results] == [StartFailed, Ready]
    assert driver.living() == []


async def test_the_numbers_name_versions_and_never_keys(pool: Pool, clock: ManualClock) -> None:
    await idle(pool, clock, application("a", secrets="digest"), application("b"))

    assert pool.stats() == {
        "total": 2,
        "max": 4,
        "by_key": {"shop/a v1": 1, "shop/b v1": 1},
        "standbys": 0,
        "parents": 0,
        "budget": 512 * MEBIBYTE,
        "used": 256 * MEBIBYTE,
    }
