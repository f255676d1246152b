"""What runs where: statements at once, what waits for others or for the disk on the connection's thread."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from clowdy.server.store.connection import Connection
from clowdy.server.store.engine import Store


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Each statement, and whether it ran on the event loop's thread."""
    ran: list[tuple[str, bool]] = []
    run = Connection._run

    def noted(self: Connection, statement: str, parameters: object, many: bool) -> object:
        ran.append((statement, threading.current_thread() is threading.main_thread()))
        return run(self, statement, parameters, many)

    monkeypatch.setattr(Connection, "_run", noted)
    return ran


async def test_a_reader_takes_no_step_to_another_thread(tmp_path: Path, ran: list[tuple[str, bool]]) -> None:
    store = await Store.open(tmp_path / "x.db")
    async with store.reading():
        pass
    ran.clear()
    async with store.reading() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    await store.close()

    assert ran == [("BEGIN", True), ("SELECT 1", True)]


async def test_a_writer_waits_for_others_and_for_the_disk_on_its_thread(
    tmp_path: Path, ran: list[tuple[str, bool]]
) -> None:
    store = await Store.open(tmp_path / "x.db")
    ran.clear()
    async with store.writing() as connection:
        await connection.execute(text("UPDATE projects SET name = 'x'"))
    await store.close()

    assert ran == [("BEGIN IMMEDIATE", False), ("UPDATE projects SET name = 'x'", True)]


async def test_the_loop_runs_on_while_another_process_writes(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "x.db")
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def write() -> None:
        async with store.writing() as connection:
            await connection.execute(text("UPDATE projects SET name = 'x'"))

    writing = asyncio.create_task(write())
    for _ in range(50):
        await asyncio.sleep(0)
    assert not writing.done()
    other.execute("COMMIT")
    other.close()
    await writing
    await store.close()


async def test_what_fails_is_undone_and_the_connection_goes_on(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "x.db")
    with pytest.raises(RuntimeError):
        async with store.writing() as connection:
            await connection.execute(text("PRAGMA user_version = 7"))
            raise RuntimeError
    async with store.reading() as connection:
        assert (await connection.execute(text("PRAGMA user_version"))).scalar_one() == 0
    await store.close()
