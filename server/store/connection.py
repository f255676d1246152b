"""aiosqlite without its thread wherever nothing waits for a disk.

A statement takes microseconds, since SQLite has the pages that it needs in memory and readers wait for nobody; every
step to the thread and back takes a hundred. So the thread is left what can take long: connecting, `BEGIN IMMEDIATE`,
which waits for other processes, and the commit, which waits for the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import aiosqlite


def connect(*args: Any, **options: Any) -> Connection:
    """A connection as SQLAlchemy's `async_creator_fn` makes them: to be awaited."""
    return Connection(partial(sqlite3.connect, *args, **{**options, "check_same_thread": False}))


class Connection(aiosqlite.Connection):
    """One connection, used by one task at a time. With `direct`, statements run where they are asked for."""

    def __init__(self, connector: Any) -> None:
        super().__init__(connector, iter_chunk_size=64)
        self._thread.daemon = True
        self.direct = False

    def cursor(self) -> Cursor:  # type: ignore[override]
        """A cursor; neither making nor closing one costs a step."""
        return Cursor(self)

    async def rollback(self) -> None:
        """Gives up what was not committed."""
        if self.direct:
            self._conn.rollback()
        else:
            await super().rollback()

    async def run(self, statement: str, parameters: Any, *, many: bool) -> Any:
        """Runs a statement to its end: description, rows, their number, the last row's id."""
        if self.direct:
            return self._run(statement, parameters, many)
        return await self._execute(self._run, statement, parameters, many)  # type: ignore[no-untyped-call]

    def _run(self, statement: str, parameters: Any, many: bool) -> Any:
        cursor = self._conn.cursor()
        try:
            if many:
                cursor.executemany(statement, parameters)
            else:
                cursor.execute(statement, parameters)
            rows = cursor.fetchall() if cursor.description else []
            return cursor.description, rows, cursor.rowcount, cursor.lastrowid
        finally:
            cursor.close()


class Cursor:
    """What SQLAlchemy asks of an asynchronous cursor, over rows that are all there."""

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: Sequence[Any] = ()
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, statement: str, parameters: Any = ()) -> Self:
        """Runs one statement."""
        await self._take(statement, parameters, many=False)
        return self

    async def executemany(self, statement: str, parameters: Any) -> Self:
        """Runs one statement for each set of parameters."""
        await self._take(statement, parameters, many=True)
        return self

    async def _take(self, statement: str, parameters: Any, *, many: bool) -> None:
        answer = await self._connection.run(statement, parameters, many=many)
        self.description, self._rows, self.rowcount, self.lastrowid = answer

    async def fetchall(self) -> Sequence[Any]:
        """The rows."""
        rows, self._rows = self._rows, ()
        return rows

    async def close(self) -> None:
        """Nothing is open."""
