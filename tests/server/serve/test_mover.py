"""Calls that another process moves: all there, none twice, whatever becomes of that process."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from clowdy.server.serve import mover as module
from clowdy.server.serve.archive_tables import calls
from clowdy.server.serve.call_ids import CallIds
from clowdy.server.serve.journal import Journal
from clowdy.server.serve.records import COLUMNS
from tests.server.clocks import Clock
from tests.server.serve.calls import SHOP, call

PROJECT = SHOP.project_id
numbers = CallIds()


@asynccontextmanager
async def opened(folder: Path, **options: Any) -> AsyncIterator[Journal]:
    journal = await Journal.open(folder, apart=True, **options)
    try:
        yield journal
    finally:
        await journal.close()


def add(journal: Journal, count: int, **fields: Any) -> list[str]:
    """Records calls; their ids, the newest first."""
    ids = [numbers() for _ in range(count)]
    journal.extend([call(id=each, **fields) for each in ids])
    return ids[::-1]


async def found(journal: Journal) -> list[str]:
    return [record.id for record in (await journal.recent(PROJECT, limit=1000)).records]


def test_the_columns_are_those_of_the_table() -> None:
    assert tuple(column.name for column in calls.columns) == COLUMNS


def test_the_process_needs_none_of_the_servers_libraries() -> None:
    script = "import sys, clowdy.server.serve.mover; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"aiohttp", "sqlalchemy", "uvloop", "cryptography"} & set(loaded)


async def test_calls_are_moved_and_found(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        made = add(journal, 251, log=b"printed \xff\0", cold_start=True)
        assert await found(journal) == made
        record = (await journal.recent(PROJECT, limit=1)).records[0]
        assert (record.log, record.cold_start, record.path) == ("printed \ufffd\ufffd", True, "/")
        assert journal.health.rows == 251
        assert (await journal.totals([PROJECT]))[record.function_id].calls == 251


async def test_calls_of_a_server_that_was_killed_are_masked_on_the_way(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        add(journal, 1, log=b"hunter22")
        left = {path: path.read_bytes() for path in (tmp_path / "spool").iterdir()}
    for path, content in left.items():
        path.write_bytes(content)
    database = sqlite3.connect(tmp_path / "journal.db")
    database.executescript("DELETE FROM calls; UPDATE state SET spool_file = 0, spool_offset = 0, rows = 0")
    database.close()
    async with opened(tmp_path, redact=lambda project, text: text.replace("hunter22", "****")) as journal:
        (record,) = (await journal.recent(PROJECT)).records
        assert record.log == "****"


async def test_when_it_is_killed_the_server_goes_on_and_stores_nothing_twice(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        first = add(journal, 10)
        assert await found(journal) == first
        assert journal._mover is not None and journal._mover.pid is not None
        os.kill(journal._mover.pid, signal.SIGKILL)
        second = add(journal, 10)
        assert await found(journal) == second + first
        assert journal.health.rows == 20
        assert journal.health.lost == 0


async def test_one_that_went_is_started_again_after_a_while(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path) as journal:
        mover = journal._mover
        assert mover is not None and mover.pid is not None
        mover._clock, mover._again_at = clock, clock() + module.AGAIN_SECONDS
        first = mover.pid
        os.kill(first, signal.SIGKILL)
        made = add(journal, 3)
        assert await found(journal) == made
        made = add(journal, 3) + made
        assert await found(journal) == made
        assert mover.pid is None
        clock.forward(module.AGAIN_SECONDS)
        made = add(journal, 3) + made
        assert await found(journal) == made
        assert mover.pid not in (None, first)


async def test_what_it_moved_before_it_went_is_not_moved_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move = module.Mover.move

    def lose_the_answer(self: module.Mover, *args: Any, **options: Any) -> None:
        assert move(self, *args, **options) is not None
        self.stop()

    async with opened(tmp_path) as journal:
        monkeypatch.setattr(module.Mover, "move", lose_the_answer)
        made = add(journal, 10)
        assert await found(journal) == made
        assert journal.health.rows == 10
        assert sum(totals.calls for totals in (await journal.totals([PROJECT])).values()) == 10


async def test_one_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)
    async with opened(tmp_path) as journal:
        assert journal._mover is not None and journal._mover.pid is not None
        os.kill(journal._mover.pid, signal.SIGSTOP)
        made = add(journal, 3)
        assert await found(journal) == made


async def test_a_machine_that_starts_none_is_no_worse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with opened(tmp_path) as journal:
        made = add(journal, 3)
        assert await found(journal) == made


async def test_who_follows_gets_calls_all_the_same(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        add(journal, 2)
        await journal.flush()
        tail = journal.tail(PROJECT, None)
        made = add(journal, 2)
        await journal.flush()
        assert [(await anext(tail)).id for _ in made] == made[::-1]
        tail.close()


async def test_a_database_that_cannot_be_written_is_told_and_tried_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        add(journal, 1)
        assert await journal.flush()
        database = sqlite3.connect(tmp_path / "journal.db")
        database.execute("ALTER TABLE totals RENAME TO elsewhere")
        add(journal, 1)
        assert not await journal.flush()
        assert "no such table: totals" in (journal.health.error or "")
        database.execute("ALTER TABLE elsewhere RENAME TO totals")
        database.close()
        assert await journal.flush()
        assert journal.health.rows == 2


async def test_it_ends_with_the_server(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        assert journal._mover is not None
        process = journal._mover._process
        assert process is not None
        add(journal, 1)
    assert process.returncode == 0
