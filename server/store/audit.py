"""The audit log: who changed what, and when. Only ever added to."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Column, Float, Integer, String, Table, Text, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from clowdy.server.store.tables import metadata

# No foreign key: the log outlives what it tells of.
table = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("project_id", String(64)),
    Column("detail", Text, nullable=False),
    sqlite_autoincrement=True,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One change; `what` is `noun.verb` (`token.create`), `detail` one line without any secret."""

    id: int
    at: float
    who: str
    what: str
    project_id: str | None
    detail: str


async def add(connection: AsyncConnection, who: str, what: str, project_id: str | None, detail: str, at: float) -> None:
    """Writes down a change, in the transaction of the change itself."""
    values = {"at": at, "who": who, "what": what, "project_id": project_id, "detail": detail}
    await connection.execute(insert(table).values(values))


async def every(connection: AsyncConnection, limit: int | None = None) -> list[Entry]:
    """The log, newest first."""
    rows = await connection.execute(select(table).order_by(table.c.id.desc()).limit(limit))
    return [Entry(**row._mapping) for row in rows]
