from __future__ import annotations

import asyncio
from pathlib import Path

from clowdy.runtimes.api import StartFailed, StartReason
from clowdy.server.releases.renew import renew
from tests.runtimes.memory_driver import Behaviour

from .world import World, files, world

CODE = b"def good(event):\n    return 1\n\n\ndef bad(event):\n    return 2\n"
MANIFEST = b"functions:\n  good: {handler: 'code.py:good'}\n  bad: {handler: 'code.py:bad'}\nroutes: {GET /: good}\n"


async def two(made: World) -> None:
    commit = await made.commit({"clowdy.yaml": MANIFEST, "code.py": CODE})
    (verdict,) = await made.push({"refs/heads/main": commit})
    assert verdict.accepted, made.said


async def test_what_does_not_start_is_told_and_the_rest_serves(made: World) -> None:
    await two(made)
    project = await made.project()
    text = "Traceback\nImportError: gone in this Python\n"
    made.driver.behaviours["bad"] = Behaviour(fails=StartFailed(StartReason.EXCEPTION, text))
    assert await made.releases.renew() == ["bad does not start with Python 3.11.2: ImportError: gone in this Python"]
    serving = made.table[project.id]
    assert list(serving.applications) == ["good"]
    assert serving.problems == {"bad": "bad does not start with Python 3.11.2: ImportError: gone in this Python"}
    assert (serving.number, serving.record.functions["bad"].number) == (1, 1)
    made.driver.behaviours.clear()
    commit = await made.commit(files("next"), ((await made.repository()).ref("refs/heads/main") or "",))
    (verdict,) = await made.push({"refs/heads/main": commit})
    assert verdict.accepted
    assert made.table[project.id].problems == {}


async def test_it_has_an_end(made: World) -> None:
    await two(made)
    made.driver.behaviours["good"] = Behaviour(held=asyncio.Event())
    assert await renew(made.context, 0.05) == ["2 of 2 live versions were not tried: they start with their first call"]
    assert list(made.table[(await made.project()).id].applications) == ["good", "bad"]


async def test_nothing_that_is_live_takes_no_time(tmp_path: Path) -> None:
    async with world(tmp_path / "data") as made:
        assert await made.releases.renew() == []
