"""Functions: a name within a project, its lasting id, and how far its versions count."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Column, Float, ForeignKey, Integer, String, Table, UniqueConstraint, select
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from clowdy.server.store.projects import table as projects
from clowdy.server.store.tables import metadata

table = Table(
    "functions",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("project_id", ForeignKey(projects.c.id, ondelete="CASCADE"), nullable=False),
    Column("name", String(63), nullable=False),
    Column("last_version", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("project_id", "name"),
)


@dataclass(frozen=True, slots=True)
class Function:
    """One function, live or not; `last_version` is 0 before its first version."""

    id: str
    project_id: str
    name: str
    last_version: int
    created_at: float


async def ensure(connection: AsyncConnection, project_id: str, name: str, new_id: str, now: float) -> Function:
    """The project's function of this name: the one that it ever had, else a new one with the id `new_id`."""
    statement = select(table).where(table.c.project_id == project_id, table.c.name == name)
    row = (await connection.execute(statement)).first()
    if row is not None:
        return Function(**row._mapping)
    function = Function(new_id, project_id, name, 0, now)
    await save(connection, function)
    return function


async def save(connection: AsyncConnection, function: Function) -> None:
    """Writes the whole function, new or known."""
    values = {column.name: getattr(function, column.name) for column in table.c}
    statement = upsert(table).values(values)
    await connection.execute(statement.on_conflict_do_update(index_elements=[table.c.id], set_=values))


async def find(connection: AsyncConnection, function_id: str) -> Function | None:
    """The function with this id."""
    row = (await connection.execute(select(table).where(table.c.id == function_id))).first()
    return None if row is None else Function(**row._mapping)


async def every(connection: AsyncConnection, project_id: str) -> list[Function]:
    """Every function that the project has or had, newest first."""
    statement = select(table).where(table.c.project_id == project_id)
    rows = await connection.execute(statement.order_by(table.c.created_at.desc(), table.c.name))
    return [Function(**row._mapping) for row in rows]
