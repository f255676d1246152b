import asyncio

from clowdy.server.releases.log import LIMIT_BYTES, PushLog


async def test_every_reader_gets_every_line_from_the_first_on() -> None:
    log = PushLog()
    log.append("one")
    early = asyncio.create_task(collect(log))
    await asyncio.sleep(0)
    log.append("two")
    late = asyncio.create_task(collect(log))
    log.append("three")
    log.close()
    assert await early == ["one", "two", "three"]
    assert await late == ["one", "two", "three"]
    assert log.text() == "one\ntwo\nthree\n"


async def test_a_flood_is_cut_and_says_so() -> None:
    log = PushLog()
    for _ in range(20):
        log.append("x" * (LIMIT_BYTES // 10))
    log.close()
    lines = await collect(log)
    assert len(log.text()) < LIMIT_BYTES + 200
    assert "dropped" in lines[-1]


async def collect(log: PushLog) -> list[str]:
    return [line async for line in log.follow()]


async def test_the_last_word_is_kept_whatever_came_before() -> None:
    log = PushLog('{"type": "progress"}')
    for _ in range(30):
        log.append("x" * (LIMIT_BYTES // 10))
    log.append("the end", last=True)
    log.close()
    assert (await collect(log))[-2:] == ['{"type": "progress"}', "the end"]
