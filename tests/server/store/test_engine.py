from __future__ import annotations

import asyncio
import sqlite3
import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from clowdy.server.errors import StartError
from clowdy.server.store import (
    audit,
    functions,
    history,
    migrate,
    projects,
    pushes,
    releases,
    secrets,
    tokens,
    versions,
)
from clowdy.server.store.engine import Store
from clowdy.server.store.tables import metadata

NOUNS = (audit, functions, history, projects, pushes, releases, secrets, tokens, versions)


async def test_the_migrations_make_exactly_the_tables_that_the_code_knows(store: Store) -> None:
    async with store.reading() as connection:
        differences = await connection.run_sync(
            lambda plain: compare_metadata(MigrationContext.configure(plain, opts={"compare_type": True}), metadata)
        )

    assert differences == []
    assert {module.table.name for module in NOUNS} <= set(metadata.tables)


async def test_a_database_is_opened_again_without_a_change(tmp_path: Path) -> None:
    for _ in range(2):
        store = await Store.open(tmp_path / "clowdy.db")
        async with store.reading() as connection:
            assert await connection.run_sync(migrate.revision) == migrate.newest()
        await store.close()


async def test_the_settings_that_durability_needs_hold_on_each_connection(store: Store) -> None:
    async with store.reading() as first, store.reading() as second:
        for connection in (first, second):
            assert (await connection.execute(text("PRAGMA synchronous"))).scalar() == 2
            assert (await connection.execute(text("PRAGMA foreign_keys"))).scalar() == 1
            assert (await connection.execute(text("PRAGMA journal_mode"))).scalar() == "wal"


async def test_a_block_that_raises_leaves_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.writing() as connection:
            await audit.add(connection, "ana", "test.nothing", None, "", 1.0)
            raise ZeroDivisionError

    async with store.reading() as connection:
        assert await audit.every(connection) == []


async def test_a_cancelled_writer_leaves_nothing_and_lets_the_next_one_in(store: Store) -> None:
    inside = asyncio.Event()

    async def write_and_wait() -> None:
        async with store.writing() as connection:
            await audit.add(connection, "ana", "test.cancelled", None, "", 1.0)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(write_and_wait())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with asyncio.timeout(5), store.writing() as connection:
        await audit.add(connection, "ben", "test.next", None, "", 2.0)
        assert [entry.who for entry in await audit.every(connection)] == ["ben"]


async def test_a_reader_sees_one_state_while_others_write(store: Store) -> None:
    async with store.reading() as reader:
        assert await audit.every(reader) == []
        async with store.writing() as writer:
            await audit.add(writer, "ana", "test.write", None, "", 1.0)

        assert await audit.every(reader) == []

    async with store.reading() as reader:
        assert len(await audit.every(reader)) == 1


async def test_many_writers_at_once_each_get_their_turn(store: Store) -> None:
    async def write(number: int) -> None:
        async with store.writing() as connection:
            await audit.add(connection, f"writer {number}", "test.write", None, "", float(number))

    await asyncio.gather(*(write(number) for number in range(20)))

    async with store.reading() as connection:
        assert len(await audit.every(connection)) == 20


async def test_writers_that_wait_keep_no_reader_out(store: Store) -> None:
    async def write(number: int) -> None:
        async with store.writing() as connection:
            await audit.add(connection, f"writer {number}", "test.write", None, "", float(number))

    async with store.writing():
        waiting = [asyncio.create_task(write(number)) for number in range(20)]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(2), store.reading() as connection:
            assert await audit.every(connection) == []
    await asyncio.gather(*waiting)


async def test_nobody_else_can_read_the_files(store: Store, tmp_path: Path) -> None:
    async with store.writing() as connection:
        await audit.add(connection, "ana", "test.write", None, "", 1.0)

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {"clowdy.db": 0o600, "clowdy.db-wal": 0o600, "clowdy.db-shm": 0o600}


async def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot be opened: No such file or directory"):
        await Store.open(tmp_path / "missing" / "clowdy.db")


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "clowdy.db"
    path.write_bytes(b"not a database, and long enough to be looked at " * 100)

    with pytest.raises(StartError, match=r"clowdy\.db cannot be opened: file is not a database"):
        await Store.open(path)


async def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "clowdy.db"
    await (await Store.open(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    with pytest.raises(StartError, match="written by a newer version of clowdy"):
        await Store.open(path)
