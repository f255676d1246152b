"""Work is done once for all who ask for it at the same time."""

from __future__ import annotations

import asyncio

import pytest

from clowdy.runtimes.layers.api import Say
from clowdy.runtimes.layers.flights import Flights


class Work:
    """Says a line, waits to be let go, returns how many times it was started."""

    def __init__(self) -> None:
        self.started = 0
        self.cancelled = 0
        self.go = asyncio.Event()

    async def __call__(self, say: Say) -> int:
        self.started += 1
        say("begun")
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        say("done")
        return self.started


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_everyone_gets_the_one_result_and_every_line() -> None:
    flights: Flights[int] = Flights()
    work, first, second = Work(), list[str](), list[str]()
    one = asyncio.create_task(flights.join("key", work, first.append))
    await turn()
    other = asyncio.create_task(flights.join("key", work, second.append))
    await turn()
    work.go.set()
    assert (await one, await other) == (1, 1)
    assert first == second == ["begun", "done"]
    assert await flights.join("key", work, first.append) == 2


async def test_the_error_is_everybodys_too() -> None:
    flights: Flights[int] = Flights()

    async def fail(say: Say) -> int:
        await asyncio.sleep(0)
        raise ValueError("no")

    found = await asyncio.gather(
        *(flights.join("key", fail, lambda line: None) for _ in range(2)), return_exceptions=True
    )
    assert [str(each) for each in found] == ["no", "no"]


async def test_it_ends_when_the_last_one_leaves_and_one_who_comes_then_starts_anew() -> None:
    flights: Flights[int] = Flights()
    work = Work()
    tasks = [asyncio.create_task(flights.join("key", work, lambda line: None)) for _ in range(2)]
    await turn()
    tasks[0].cancel()
    await turn()
    assert work.cancelled == 0
    tasks[1].cancel()
    late = asyncio.create_task(flights.join("key", work, lambda line: None))
    await turn()
    assert work.cancelled == 1
    work.go.set()
    assert await late == 2
    for task in tasks:
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_closing_ends_all() -> None:
    flights: Flights[int] = Flights()
    work = Work()
    task = asyncio.create_task(flights.join("key", work, lambda line: None))
    await turn()
    await flights.close()
    assert work.cancelled == 1
    with pytest.raises(asyncio.CancelledError):
        await task
