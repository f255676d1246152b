"""Versions of functions: numbers, and the content that each number stands for."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Column, Float, ForeignKey, Integer, String, Table, UniqueConstraint, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from clowdy.server.store.functions import table as functions
from clowdy.server.store.tables import metadata

table = Table(
    "versions",
    metadata,
    Column("function_id", ForeignKey(functions.c.id, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),
    Column("commit", String(40), nullable=False),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("function_id", "digest"),
)


@dataclass(frozen=True, slots=True)
class Version:
    """Version `number` of a function; `commit` is the first one that brought this content."""

    function_id: str
    number: int
    digest: str
    commit: str
    created_at: float


async def by_digest(connection: AsyncConnection, function_id: str, digest: str) -> Version | None:
    """The version of the function that has this content, seen at any time."""
    statement = select(table).where(table.c.function_id == function_id, table.c.digest == digest)
    row = (await connection.execute(statement)).first()
    return None if row is None else Version(**row._mapping)


async def add(connection: AsyncConnection, version: Version) -> None:
    """Remembers a version, and that its function counted this far; a known number is kept as it is."""
    values = {column.name: getattr(version, column.name) for column in table.c}
    key = [table.c.function_id, table.c.number]
    await connection.execute(upsert(table).values(values).on_conflict_do_nothing(index_elements=key))
    behind = (functions.c.id == version.function_id) & (functions.c.last_version < version.number)
    await connection.execute(update(functions).where(behind).values(last_version=version.number))


async def every(connection: AsyncConnection, project_id: str) -> list[Version]:
    """Every version of every function of the project, newest numbers first within a function."""
    statement = select(table).join(functions).where(functions.c.project_id == project_id)
    rows = await connection.execute(statement.order_by(table.c.function_id, table.c.number.desc()))
    return [Version(**row._mapping) for row in rows]
