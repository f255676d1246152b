"""History: every time that something went live in a project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Column, Float, ForeignKey, Integer, Table, Text, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from clowdy.server.store.projects import table as projects
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
)


@dataclass(frozen=True, slots=True)
class Entry:
    """The `sequence`-th time that something went live: which release, and which one served before."""

    project_id: str
    sequence: int
    release: int
    before: int | None
    who: str
    how: str
    why: str
    at: float


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


async def replace_all(connection: AsyncConnection, project_id: str, entries: Sequence[Entry]) -> None:
    """Writes the project's history anew, as git remembers it."""
    await connection.execute(delete(table).where(table.c.project_id == project_id))
    if entries:
        await connection.execute(insert(table), [_columns(entry) for entry in entries])


def _columns(entry: Entry) -> dict[str, object]:
    return {column.name: getattr(entry, column.name) for column in table.c}
