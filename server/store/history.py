"""History: every time that something went live in a project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, Table, Text, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from clowdy.server.store.projects import table as projects
from clowdy.server.store.releases import table as releases
from clowdy.server.store.tables import metadata

table = Table(
    "history",
    metadata,
    Column("project_id", ForeignKey(projects.c.id, ondelete="CASCADE"), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("release", Integer, nullable=False),
    Column("before", Integer),
    Column("who", Text, nullable=False),
    Column("how", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("duration_ms", Float, nullable=False, server_default="0"),
    Column("changes", Text, nullable=False, server_default=""),
    Index("ix_history_project_id_release", "project_id", "release"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """The `sequence`-th time that something went live: which release, and which one served before.

    `duration_ms` is from the wish to the switch, `changes` what it changed in a few words.
    """

    project_id: str
    sequence: int
    release: int
    before: int | None
    who: str
    how: str
    why: str
    at: float
    duration_ms: float = 0.0
    changes: str = ""


async def add(connection: AsyncConnection, entry: Entry) -> None:
    """Remembers that a release went live."""
    await connection.execute(insert(table).values(_columns(entry)))


async def every(connection: AsyncConnection, project_id: str, limit: int | None = None) -> list[Entry]:
    """The project's history, newest first."""
    statement = select(table).where(table.c.project_id == project_id).order_by(table.c.sequence.desc())
    return [Entry(**row._mapping) for row in await connection.execute(statement.limit(limit))]


async def last(connection: AsyncConnection, project_id: str) -> Entry | None:
    """What went live last, and so serves."""
    entries = await every(connection, project_id, limit=1)
    return entries[0] if entries else None


async def before(connection: AsyncConnection, project_id: str, release: int) -> int | None:
    """The release that served before this one went live last, another one than itself."""
    statement = (
        select(table.c.before)
        .where(table.c.project_id == project_id, table.c.release == release, table.c.before != release)
        .order_by(table.c.sequence.desc())
        .limit(1)
    )
    return (await connection.execute(statement)).scalar_one_or_none()


async def served_since(connection: AsyncConnection, project_id: str, since: float) -> set[int]:
    """The releases that served at some time after `since`."""
    statement = select(table.c.release, table.c.before).where(table.c.project_id == project_id, table.c.at > since)
    rows = (await connection.execute(statement)).all()
    return {number for row in rows for number in row if number is not None}


async def of_commit(connection: AsyncConnection, project_id: str, commit: str) -> list[Entry]:
    """Each time that a release of the commit went live, newest first."""
    numbers = select(releases.c.number).where(releases.c.project_id == project_id, releases.c.commit == commit)
    statement = select(table).where(table.c.project_id == project_id, table.c.release.in_(numbers))
    return [Entry(**row._mapping) for row in await connection.execute(statement.order_by(table.c.sequence.desc()))]


async def count(connection: AsyncConnection, project_id: str) -> int:
    """How many times something went live."""
    statement = select(func.count()).select_from(table).where(table.c.project_id == project_id)
    return (await connection.execute(statement)).scalar_one()


async def replace_all(connection: AsyncConnection, project_id: str, entries: Sequence[Entry]) -> None:
    """Writes the project's history anew, as git remembers it."""
    await connection.execute(delete(table).where(table.c.project_id == project_id))
    if entries:
        await connection.execute(insert(table), [_columns(entry) for entry in entries])


def _columns(entry: Entry) -> dict[str, object]:
    return {column.name: getattr(entry, column.name) for column in table.c}
