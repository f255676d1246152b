"""Secrets as they are kept: sealed, named, one value each. Nothing here can open them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sqlalchemy import Column, Float, LargeBinary, String, Table, Text, delete, select
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from clowdy.server.store.tables import metadata

# No foreign key: a secret may come before the first push, and then stands under its project's name.
table = Table(
    "secrets",
    metadata,
    Column("project_id", String(64), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("updated_by", Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Secret:
    """One sealed value; `project_id` is `name:NAME` as long as the project NAME does not exist."""

    project_id: str
    name: str
    sealed: bytes = field(repr=False)
    updated_at: float
    updated_by: str


def before_project(name: str) -> str:
    """What stands for the id of a project that does not exist yet."""
    return f"name:{name}"


async def put(connection: AsyncConnection, secret: Secret) -> None:
    """Writes a secret, new or known."""
    values = {column.name: getattr(secret, column.name) for column in table.c}
    statement = upsert(table).values(values)
    key = [table.c.project_id, table.c.name]
    await connection.execute(statement.on_conflict_do_update(index_elements=key, set_=values))


async def find(connection: AsyncConnection, project_id: str, name: str) -> Secret | None:
    """The project's secret of this name."""
    statement = select(table).where(table.c.project_id == project_id, table.c.name == name)
    row = (await connection.execute(statement)).first()
    return None if row is None else Secret(**row._mapping)


async def every(connection: AsyncConnection, project_id: str) -> list[Secret]:
    """The project's secrets in the order of their names."""
    statement = select(table).where(table.c.project_id == project_id).order_by(table.c.name)
    return [Secret(**row._mapping) for row in await connection.execute(statement)]


async def remove(connection: AsyncConnection, project_id: str, name: str) -> bool:
    """Forgets a secret; False when there is none."""
    statement = delete(table).where(table.c.project_id == project_id, table.c.name == name)
    return (await connection.execute(statement)).rowcount > 0


async def everywhere(connection: AsyncConnection) -> list[Secret]:
    """Every secret of every project, and of names that no project has yet."""
    return [Secret(**row._mapping) for row in await connection.execute(select(table))]


async def move(
    connection: AsyncConnection, project_id: str, to_project_id: str, reseal: Callable[[Secret, str], bytes | None]
) -> list[str]:
    """Moves the secrets to another project, each sealed anew for it; gives the names of those that moved.

    `reseal` is handed the secret as it is and the project that it goes to, since a sealed value is bound to its
    place. One for which it gives None stays.
    """
    moved = []
    for secret in await every(connection, project_id):
        sealed = reseal(secret, to_project_id)
        if sealed is not None:
            await put(connection, replace(secret, project_id=to_project_id, sealed=sealed))
            await remove(connection, project_id, secret.name)
            moved.append(secret.name)
    return moved


async def adopt(
    connection: AsyncConnection, name: str, project_id: str, reseal: Callable[[Secret, str], bytes | None]
) -> list[str]:
    """Gives the project that was just made what was set under its name before; gives the secrets' names."""
    return await move(connection, before_project(name), project_id, reseal)
