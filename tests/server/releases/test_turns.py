import asyncio

from clowdy.server.releases.turns import Turns


async def test_the_second_waits_and_is_told_for_whom() -> None:
    turns, told, order = Turns(), [], []
    leave = asyncio.Event()

    async def tell(whom: str) -> None:
        told.append(whom)

    async def first() -> None:
        async with turns.turn("p", "ana", tell) as waited_for:
            assert waited_for is None
            order.append("ana")
            await leave.wait()

    async def second() -> None:
        async with turns.turn("p", "kim", tell) as waited_for:
            assert waited_for == "ana"
            order.append("kim")

    tasks = [asyncio.create_task(first()), asyncio.create_task(second())]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert told == ["ana"]
    assert turns.holder("p") == "ana"
    leave.set()
    await asyncio.gather(*tasks)
    assert order == ["ana", "kim"]
    assert turns.holder("p") is None


async def test_projects_do_not_wait_for_each_other() -> None:
    turns = Turns()

    async def fail(_: str) -> None:
        raise AssertionError("nobody is to be waited for")

    async with turns.turn("one", "ana", fail), turns.turn("two", "kim", fail):
        pass


async def test_one_who_gives_up_leaves_the_queue_to_the_next() -> None:
    turns = Turns()
    leave = asyncio.Event()
    order: list[str] = []

    async def ignore(_: str) -> None:
        pass

    async def take(who: str, wait: bool = False) -> None:
        async with turns.turn("p", who, ignore):
            order.append(who)
            if wait:
                await leave.wait()

    first = asyncio.create_task(take("ana", wait=True))
    await asyncio.sleep(0)
    second = asyncio.create_task(take("kim"))
    third = asyncio.create_task(take("lea"))
    await asyncio.sleep(0)
    second.cancel()
    leave.set()
    await asyncio.gather(first, third, second, return_exceptions=True)
    assert order == ["ana", "lea"]
