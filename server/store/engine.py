"""The database: opened, migrated, read by many, written by one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from clowdy.server.errors import StartError
from clowdy.server.store.connection import Connection as OneStep
from clowdy.server.store.connection import connect
from clowdy.server.store.migrate import upgrade

if TYPE_CHECKING:
    from sqlalchemy import Connection

_WRITING = "clowdy_writing"
_BUSY_TIMEOUT_MS = 10_000


class Store:
    """The open database. Rows are read and written by the modules beside this one, each given a connection."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        # SQLite has one writer anyway; waiting here instead of in its busy handler costs no thread and is fair.
        self._writer = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path) -> Self:
        """The database at `path`, made if it is missing and brought to this version's tables.

        Raises StartError for a file that is no database, or one that a newer version wrote.
        """
        try:
            # It holds digests of tokens and sealed secrets; SQLite gives the files beside it the same mode.
            path.touch(mode=0o600)
        except OSError as error:
            raise StartError(f"the database {path} cannot be opened: {error.strerror}") from None
        engine = _engine(path)
        store = cls(engine)
        try:
            async with store.writing() as connection:
                await connection.run_sync(upgrade)
        except DBAPIError as error:
            await engine.dispose()
            raise StartError(f"the database {path} cannot be opened: {error.orig}") from error
        except BaseException:
            await engine.dispose()
            raise
        return store

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection that sees one state of the database throughout; what it writes is given up."""
        async with self._engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A connection that writes: committed and on disk when the block ends, undone when it raises."""
        async with self._writer, self._engine.connect() as plain:
            connection = await plain.execution_options(**{_WRITING: True})
            async with connection.begin():
                yield connection

    async def close(self) -> None:
        """Closes every connection."""
        async with self._writer:
            await self._engine.dispose()


def _engine(path: Path) -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000, "async_creator_fn": connect},
        pool_size=4,
        max_overflow=4,
    )
    event.listen(engine.sync_engine, "connect", _configure)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _configure(dbapi_connection: Any, _record: object) -> None:
    # The sqlite3 module would begin transactions itself, late and never IMMEDIATE, and leave DDL outside of them.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    # FULL: a release is acknowledged to a git client only when it is on disk.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_TIMEOUT_MS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    driver = connection.connection.driver_connection
    assert isinstance(driver, OneStep)
    if connection.get_execution_options().get(_WRITING, False):
        # A deferred transaction that turns into a writing one fails with SQLITE_BUSY at once, whatever the timeout.
        driver.direct = False
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        driver.direct = True
    else:
        driver.direct = True
        connection.exec_driver_sql("BEGIN")
