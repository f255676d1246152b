"""Pushes: what was asked, what came of it, and everything that the pusher was told."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, Float, Index, Integer, Row, String, Table, Text, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from clowdy.server.store.tables import metadata

# No foreign key: a push may be refused before the project that it names exists.
table = Table(
    "pushes",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("project_id", String(64), nullable=False),
    Column("project", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("refs", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("release", Integer),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("output", Text, nullable=False),
    Index("ix_pushes_project_id_started_at", "project_id", "started_at"),
    Index("ix_pushes_state", "state"),
)


class State(StrEnum):
    """What came of a push."""

    RUNNING = "running"
    LIVE = "live"
    STORED = "stored"
    PLANNED = "planned"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Push:
    """One push; `refs` holds (old, new, name) of each ref, `reason` why it was refused, `project` its name then.

    `ended_at` is None while it runs, and for one that was interrupted.
    """

    id: str
    project_id: str
    project: str
    who: str
    refs: tuple[tuple[str, str, str], ...]
    options: tuple[str, ...]
    state: State
    reason: str
    release: int | None
    started_at: float
    ended_at: float | None
    output: str


async def add(connection: AsyncConnection, push: Push) -> None:
    """Remembers a new push."""
    await connection.execute(insert(table).values(_columns(push)))


async def save(connection: AsyncConnection, push: Push) -> None:
    """Writes the whole push, new or known."""
    values = _columns(push)
    statement = upsert(table).values(values)
    await connection.execute(statement.on_conflict_do_update(index_elements=[table.c.id], set_=values))


async def find(connection: AsyncConnection, project_id: str, push_id: str) -> Push | None:
    """The project's push with this id."""
    statement = select(table).where(table.c.project_id == project_id, table.c.id == push_id)
    row = (await connection.execute(statement)).first()
    return None if row is None else _push(row)


async def every(
    connection: AsyncConnection, project_id: str, limit: int | None = None, *, states: Collection[State] = ()
) -> list[Push]:
    """The project's pushes, newest first; only those in `states` when any are given."""
    statement = select(table).where(table.c.project_id == project_id)
    if states:
        statement = statement.where(table.c.state.in_(states))
    statement = statement.order_by(table.c.started_at.desc(), table.c.id).limit(limit)
    return [_push(row) for row in await connection.execute(statement)]


async def of_release(connection: AsyncConnection, project_id: str, number: int) -> Push | None:
    """The push that made the release, if one did: the first that ended with it."""
    statement = select(table).where(table.c.project_id == project_id, table.c.release == number)
    row = (await connection.execute(statement.order_by(table.c.started_at).limit(1))).first()
    return None if row is None else _push(row)


async def interrupt_running(connection: AsyncConnection) -> int:
    """Marks as interrupted what was running when the server ended; gives how many there were."""
    statement = update(table).where(table.c.state == State.RUNNING)
    values = {"state": State.INTERRUPTED, "reason": "the server stopped: push again"}
    return (await connection.execute(statement.values(values))).rowcount


async def finish_interrupted(connection: AsyncConnection, project_id: str, commit: str, number: int) -> None:
    """Marks as live the newest interrupted push of `commit`, which did become release `number`."""
    for push in await every(connection, project_id, states=(State.INTERRUPTED,)):
        if any(new == commit for _, new, _ in push.refs):
            await save(connection, replace(push, state=State.LIVE, reason="", release=number))
            return


def _columns(push: Push) -> dict[str, object]:
    values: dict[str, object] = {column.name: getattr(push, column.name) for column in table.c}
    return values | {"refs": json.dumps(push.refs), "options": json.dumps(push.options)}


def _push(row: Row[Any]) -> Push:
    refs = tuple((str(old), str(new), str(name)) for old, new, name in json.loads(row.refs))
    values = dict(row._mapping) | {"refs": refs, "options": tuple(json.loads(row.options)), "state": State(row.state)}
    return Push(**values)
