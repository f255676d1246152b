"""The journal's database: calls in SQLite, by the second million as fast as by the first thousand.

SQLAlchemy Core as in the store, but over the sqlite3 driver on threads, because a batch has to go in while calls are
answered: rows go in by some hundred at a statement, for which the interpreter's lock is released once. (Row by row,
a busy event loop and the thread take turns with it at every row: 52 µs each instead of 4.) Every function here blocks.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    Text,
    cast,
    create_engine,
    delete,
    event,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError

from clowdy.server.errors import StartError, Unavailable
from clowdy.server.serve.archive_tables import calls, state, totals
from clowdy.server.serve.batches import add_batch, configure
from clowdy.server.serve.call_ids import first_number_at
from clowdy.server.serve.mover import CANNOT
from clowdy.server.serve.records import Record, from_row
from clowdy.server.serve.spool import Position
from clowdy.server.store.migrate import upgrade

log = logging.getLogger(__name__)

TRIM_ROWS = 500
SCAN_ROWS = 2_000
SEARCH_SECONDS = 2.0

_MIGRATIONS = Path(__file__).parent / "migrations"


class State(NamedTuple):
    """What the archive says of itself."""

    done: Position
    rows: int
    lost: int
    highest: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Calls of one function, or of several added up."""

    calls: int = 0
    successes: int = 0
    duration_ms: float = 0.0

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.calls + other.calls, self.successes + other.successes, self.duration_ms + other.duration_ms)

    @property
    def success_rate(self) -> int:
        """In percent; 0 when there were no calls."""
        return round(100 * self.successes / self.calls) if self.calls else 0

    @property
    def mean_duration_ms(self) -> int:
        """Of all calls; 0 when there were none."""
        return round(self.duration_ms / self.calls) if self.calls else 0


class Page(NamedTuple):
    """Calls, the newest first. `before` is where the next page begins, None when there is nothing older."""

    records: list[Record]
    before: str | None


class Archive:
    """The open database. One thread at a time writes; any number read."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, path: Path) -> Self:
        """The database at `path`, made if it is missing. One that is damaged is put aside: calls go on being logged.

        Raises StartError for one that a newer version wrote.
        """
        try:
            return cls._open(path)
        except Unavailable as error:
            cause = error.__cause__
            damaged = isinstance(cause, DatabaseError) and not isinstance(cause, OperationalError)
            if not damaged:
                raise StartError(f"the journal {path} cannot be opened: {error}") from error
            aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
            log.error("the journal %s is damaged (%s): put aside as %s", path, error, aside.name)
            for suffix in ("", "-wal", "-shm"):
                if (part := path.with_name(path.name + suffix)).exists():
                    part.rename(aside.with_name(aside.name + suffix))
        return cls._open(path)

    @classmethod
    def _open(cls, path: Path) -> Self:
        try:
            # It holds what was sent and answered; SQLite gives the files beside it the same mode.
            path.touch(mode=0o600)
        except OSError as error:
            raise StartError(f"the journal {path} cannot be opened: {error.strerror}") from None
        engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False}, pool_size=4)
        event.listen(engine, "connect", _configure)
        event.listen(engine, "begin", _begin)
        try:
            archive = cls(engine)
            with archive._writing() as connection:
                upgrade(connection, _MIGRATIONS)
                connection.execute(
                    insert(state).values(id=1, spool_file=0, spool_offset=0, rows=0, lost=0).on_conflict_do_nothing()
                )
        except BaseException:
            engine.dispose()
            raise
        return archive

    def close(self) -> None:
        """Closes every connection."""
        self._engine.dispose()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._errors(), self._engine.connect() as plain:
            connection = plain.execution_options(clowdy_writing=True)
            with connection.begin():
                yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise Unavailable(f"{CANNOT}: {error.orig}") from error
        except sqlite3.Error as error:
            raise Unavailable(f"{CANNOT}: {error}") from error

    # Writing.

    def state(self) -> State:
        """Where the spool goes on, and what there is."""
        with self._reading() as connection:
            row = connection.execute(select(state)).one()
            highest = connection.execute(select(func.max(calls.c.id))).scalar()
        return State(Position(row.spool_file, row.spool_offset), row.rows, row.lost, highest or 0)

    def add(self, records: Sequence[Record], done: Position, lost: int, *, known_new: bool = False) -> int:
        """Stores `records` and that the spool was read up to `done`, in one transaction: see `batches.add_batch`."""
        with self._writing() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            return add_batch(driver, records, done, lost, known_new=known_new)

    def trim(self, oldest: float, most_rows: int) -> int:
        """Removes some calls from before `oldest` or beyond `most_rows`, the oldest first; 0 when there are none."""
        with self._writing() as connection:
            rows = int(connection.execute(select(state.c.rows)).scalar_one())
            first = select(calls.c.id).order_by(calls.c.id)
            if rows > most_rows:
                doomed = first.limit(min(TRIM_ROWS, rows - most_rows))
            else:
                doomed = first.where(calls.c.id < first_number_at(oldest)).limit(TRIM_ROWS)
            return _remove(connection, doomed)

    def remove_project(self, project_id: str) -> int:
        """Removes some calls of a project, and with the last of them its totals; 0 when there are none."""
        with self._writing() as connection:
            removed = _remove(connection, select(calls.c.id).where(calls.c.project_id == project_id).limit(TRIM_ROWS))
            if not removed:
                connection.execute(delete(totals).where(totals.c.project_id == project_id))
            return removed

    # Reading.

    def page(
        self,
        project_id: str,
        function_id: str | None,
        *,
        limit: int,
        before: int | None,
        since: float | None,
        search: str | None,
    ) -> Page:
        """The newest calls that fit. A search looks for SEARCH_SECONDS at most, and says where to go on."""
        query = _query(project_id, function_id, since)
        with self._reading() as connection:
            if not search:
                query = query if before is None else query.where(calls.c.id < before)
                rows = [from_row(row._asdict()) for row in connection.execute(query.limit(limit + 1))]
                more = len(rows) > limit
                return Page(rows[:limit], rows[limit - 1].id if more else None)
            return self._search(connection, query, before, limit, search)

    def _search(self, connection: Connection, query: Select[Any], beyond: int | None, limit: int, search: str) -> Page:
        found: list[Record] = []
        end = time.monotonic() + SEARCH_SECONDS
        while True:
            part = query if beyond is None else query.where(calls.c.id < beyond)
            part = part.limit(SCAN_ROWS)
            looked = part.with_only_columns(calls.c.id).subquery()
            lowest, count = connection.execute(select(func.min(looked.c.id), func.count())).one()
            if count:
                inside = part.subquery()
                matching = select(inside).where(_matches(inside, search)).order_by(inside.c.id.desc()).limit(limit + 1)
                found += [from_row(row._asdict()) for row in connection.execute(matching)]
            if len(found) > limit:
                return Page(found[:limit], found[limit - 1].id)
            if count < SCAN_ROWS:
                return Page(found, None)
            beyond = lowest
            if time.monotonic() > end:
                return Page(found, f"{lowest:012x}")

    def get(self, number: int) -> Record | None:
        """One call."""
        with self._reading() as connection:
            row = connection.execute(select(calls).where(calls.c.id == number)).one_or_none()
        return None if row is None else from_row(row._asdict())

    def totals(self, project_ids: Collection[str]) -> dict[str, Totals]:
        """All calls ever, by function id, of some projects."""
        with self._reading() as connection:
            rows = connection.execute(select(totals).where(totals.c.project_id.in_(project_ids)))
            return {row.function_id: Totals(row.calls, row.successes, row.duration_ms) for row in rows}


def _query(project_id: str, function_id: str | None, since: float | None) -> Select[Any]:
    query = select(calls).order_by(calls.c.id.desc())
    if function_id is None:
        query = query.where(calls.c.project_id == project_id)
    else:
        # An expression keeps SQLite from choosing the project's index, where most rows are of other functions.
        query = query.where(calls.c.function_id == function_id, func.coalesce(calls.c.project_id, "") == project_id)
    return query if since is None else query.where(calls.c.id >= first_number_at(since))


def _matches(table: Any, search: str) -> ColumnElement[bool]:
    columns = ("log", "path", "method", "code", "status", "function", "result", "head")
    id_matches = func.printf("%012x", table.c.id) == search.lower()
    in_body = cast(table.c.body, Text).contains(search, autoescape=True)
    return or_(*(table.c[name].contains(search, autoescape=True) for name in columns), in_body, id_matches)


def _remove(connection: Connection, doomed: Select[Any]) -> int:
    removed = connection.execute(delete(calls).where(calls.c.id.in_(doomed))).rowcount
    connection.execute(update(state).values(rows=state.c.rows - removed))
    return removed


def _configure(dbapi_connection: sqlite3.Connection, _record: object) -> None:
    configure(dbapi_connection)


def _begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get("clowdy_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
