"""Tokens: who holds one and what it allows. The text of a token is never stored, only its SHA-256."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Column, Float, String, Table, Text, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from clowdy.server.store.tables import metadata

table = Table(
    "tokens",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("scope", String(16), nullable=False),
    Column("project_id", String(12)),
    Column("created_at", Float, nullable=False),
    Column("last_used_at", Float),
    Column("revoked_at", Float),
)


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `digest` is the SHA-256 of its text in hex, `project_id` the only project that it opens, or None."""

    id: str
    digest: str = field(repr=False)
    name: str
    scope: str
    project_id: str | None
    created_at: float
    last_used_at: float | None = None
    revoked_at: float | None = None


async def add(connection: AsyncConnection, token: Token) -> None:
    """Remembers a new token."""
    await connection.execute(insert(table).values(_columns(token)))


async def save(connection: AsyncConnection, token: Token) -> None:
    """Writes the whole token, new or known."""
    values = _columns(token)
    statement = upsert(table).values(values)
    await connection.execute(statement.on_conflict_do_update(index_elements=[table.c.id], set_=values))


async def find(connection: AsyncConnection, token_id: str) -> Token | None:
    """The token with this id, revoked or not."""
    row = (await connection.execute(select(table).where(table.c.id == token_id))).first()
    return None if row is None else Token(**row._mapping)


async def every(connection: AsyncConnection) -> list[Token]:
    """Every token, revoked ones too, newest first."""
    rows = await connection.execute(select(table).order_by(table.c.created_at.desc(), table.c.id))
    return [Token(**row._mapping) for row in rows]


async def revoke(connection: AsyncConnection, token_id: str, at: float) -> bool:
    """Ends a token; False when there is none that could end."""
    statement = update(table).where(table.c.id == token_id, table.c.revoked_at.is_(None))
    return (await connection.execute(statement.values(revoked_at=at))).rowcount > 0


async def remove(connection: AsyncConnection, token_id: str) -> None:
    """Forgets a token, as if it had never been."""
    await connection.execute(delete(table).where(table.c.id == token_id))


async def touch(connection: AsyncConnection, used: Mapping[str, float]) -> None:
    """Remembers when each of these tokens was used last."""
    for token_id, at in used.items():
        await connection.execute(update(table).where(table.c.id == token_id).values(last_used_at=at))


def _columns(token: Token) -> dict[str, object]:
    return {column.name: getattr(token, column.name) for column in table.c}
