from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clowdy.runtimes.api import DriverUnavailable, Kind, Network, Parents, Promise
from clowdy.runtimes.first import FirstDriver
from clowdy.runtimes.process import ProcessDriver
from tests.runtimes.memory_driver import MemoryDriver, application

PLAIN = Kind(None, Network.OFF)


def sandbox(unavailable: str = "") -> MemoryDriver:
    return MemoryDriver(name="sandbox", python="3.11.2", unavailable=unavailable)


def docker(unavailable: str = "", *, passing: bool = False) -> MemoryDriver:
    return MemoryDriver(
        name="docker",
        python="3.12.1",
        base="sha256:1234",
        promises=frozenset({Promise.MEMORY}),
        notice="a notice",
        no_network="no rules",
        trouble="it went away",
        unavailable=unavailable,
        passing=passing,
        can_fork=True,
    )


async def test_the_first_that_opens_is_used_and_the_others_are_left_alone() -> None:
    first, second = sandbox(), docker()
    driver = FirstDriver([first, second])
    await driver.open()
    await driver.start(PLAIN)
    assert driver.chosen is first
    assert driver.passed_over == ()
    assert (driver.name, driver.python) == ("sandbox", "3.11.2")
    assert (len(first.living()), second.tries) == (1, 0)
    await driver.close()
    assert not first.living()


async def test_one_that_does_not_open_is_closed_and_the_next_is_what_it_stands_for() -> None:
    first, second = sandbox("forbidden"), docker()
    driver = FirstDriver([first, second])
    await driver.open()
    assert driver.chosen is second
    assert [(name, str(error)) for name, error in driver.passed_over] == [("sandbox", "forbidden")]
    assert not first.to_close
    for name in ("name", "python", "base", "promises", "notice", "no_network", "trouble"):
        assert getattr(driver, name) == getattr(second, name), name
    await driver.close()
    assert not second.to_close


async def test_where_none_opens_the_reason_and_the_cure_of_each_are_told() -> None:
    driver = FirstDriver(
        [sandbox("it is not installed. Cure: apt-get install bubblewrap"), docker("no engine. Cure: start it.")]
    )
    assert driver.name == "auto"
    with pytest.raises(DriverUnavailable) as refusal:
        await driver.open()
    assert str(refusal.value) == (
        "sandbox: it is not installed; docker: no engine. "
        "Cure: sandbox: apt-get install bubblewrap. Or docker: start it"
    )
    assert driver.chosen is None


async def test_the_reason_of_one_alone_is_told_in_its_own_words() -> None:
    with pytest.raises(DriverUnavailable, match=r"^no engine\. Cure: start it\.$") as refusal:
        await FirstDriver([docker("no engine. Cure: start it.", passing=True)]).open()
    assert refusal.value.passing


@pytest.mark.parametrize("passing", [True, False])
async def test_it_may_pass_where_that_of_one_may(passing: bool) -> None:
    with pytest.raises(DriverUnavailable) as refusal:
        await FirstDriver([sandbox("forbidden"), docker("no engine", passing=passing)]).open()
    assert refusal.value.passing is passing


async def test_opened_again_it_tries_all_in_their_order() -> None:
    first, second = sandbox("forbidden"), docker("no engine", passing=True)
    driver = FirstDriver([first, second])
    with pytest.raises(DriverUnavailable):
        await driver.open()
    await driver.close()
    first.unavailable = second.unavailable = ""
    await driver.open()
    assert driver.chosen is first
    assert driver.passed_over == ()
    assert (first.tries, second.tries) == (2, 1)
    await driver.close()


@pytest.mark.parametrize("error", [asyncio.CancelledError(), OSError("a bug")])
async def test_one_that_is_stopped_while_it_opens_is_closed(error: BaseException) -> None:
    first = sandbox()
    first.breaks_in_open = error
    with pytest.raises(type(error)):
        await FirstDriver([first, docker()]).open()
    assert not first.to_close


async def test_parents_are_prepared_where_the_chosen_one_does(tmp_path: Path) -> None:
    driver = FirstDriver([sandbox("forbidden"), docker()])
    assert isinstance(driver, Parents)
    await driver.open()
    assert driver.can_prepare(application())
    assert (await driver.prepare(application(), 1)).alive
    await driver.close()

    without = FirstDriver([ProcessDriver(tmp_path)])
    await without.open()
    assert not without.can_prepare(application())
    with pytest.raises(DriverUnavailable):
        await without.prepare(application(), 1)
    await without.close()
