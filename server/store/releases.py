"""Releases: numbered per project, each with the record that its tag carries."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Row,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from clowdy.schema.release import ReleaseRecord
from clowdy.server.errors import Conflict
from clowdy.server.store.projects import table as projects
from clowdy.server.store.tables import metadata

table = Table(
    "releases",
    metadata,
    Column("project_id", ForeignKey(projects.c.id, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("tag", String(40)),
    Column("commit", String(40), nullable=False),
    Column("pinned", Boolean, nullable=False),
    Column("record", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("duration_ms", Float, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("ix_releases_project_id_commit", "project_id", "commit"),
)


class State(StrEnum):
    """How far a release is: PREPARED before its ref transaction is known to have happened, DONE after."""

    PREPARED = "prepared"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Release:
    """Release `number` of a project; `tag` is the id of its tag object, `plan` the JSON of what it changed."""

    project_id: str
    number: int
    state: State
    tag: str | None
    commit: str
    record: ReleaseRecord
    plan: str
    duration_ms: float
    created_at: float

    @property
    def pinned(self) -> bool:
        """Whether one of its functions is set to another version than its commit says."""
        return any(version.pinned for version in self.record.functions.values())


async def add(connection: AsyncConnection, release: Release) -> None:
    """Remembers a new release; raises Conflict when its number is taken."""
    try:
        await connection.execute(insert(table).values(_columns(release)))
    except IntegrityError:
        raise Conflict(f"release {release.number} exists already") from None


async def save(connection: AsyncConnection, release: Release) -> None:
    """Writes the whole release, new or known."""
    values = _columns(release)
    statement = upsert(table).values(values)
    key = [table.c.project_id, table.c.number]
    await connection.execute(statement.on_conflict_do_update(index_elements=key, set_=values))


async def find(connection: AsyncConnection, project_id: str, number: int) -> Release | None:
    """Release `number` of the project, in any state."""
    statement = select(table).where(table.c.project_id == project_id, table.c.number == number)
    row = (await connection.execute(statement)).first()
    return None if row is None else _release(row)


async def every(connection: AsyncConnection, project_id: str, limit: int | None = None) -> list[Release]:
    """The project's releases in any state, newest first."""
    statement = select(table).where(table.c.project_id == project_id).order_by(table.c.number.desc())
    return [_release(row) for row in await connection.execute(statement.limit(limit))]


async def newest_of_commit(connection: AsyncConnection, project_id: str, commit: str) -> Release | None:
    """The newest release of the commit that is done and has no pinned function."""
    statement = (
        select(table)
        .where(
            table.c.project_id == project_id,
            table.c.commit == commit,
            table.c.state == State.DONE,
            table.c.pinned.is_(False),
        )
        .order_by(table.c.number.desc())
        .limit(1)
    )
    row = (await connection.execute(statement)).first()
    return None if row is None else _release(row)


async def starting_with(connection: AsyncConnection, project_id: str, beginning: str) -> list[str]:
    """The commits that have a release and whose id begins so (hex digits)."""
    # A range, not LIKE: the index on commits answers it.
    statement = select(table.c.commit).where(
        table.c.project_id == project_id, table.c.commit >= beginning, table.c.commit < f"{beginning}g"
    )
    return list((await connection.execute(statement.distinct())).scalars())


async def tags(connection: AsyncConnection, project_id: str) -> dict[int, str | None]:
    """The tag object of every release by its number, in any state."""
    statement = select(table.c.number, table.c.tag).where(table.c.project_id == project_id)
    return {row.number: row.tag for row in await connection.execute(statement)}


async def prepared(connection: AsyncConnection, project_id: str) -> list[Release]:
    """The project's releases of which nobody knows yet whether they went live, oldest first."""
    statement = select(table).where(table.c.project_id == project_id, table.c.state == State.PREPARED)
    return [_release(row) for row in await connection.execute(statement.order_by(table.c.number))]


async def last_number(connection: AsyncConnection, project_id: str) -> int:
    """The highest number that the project has used, prepared ones included; 0 before the first."""
    statement = select(func.max(table.c.number)).where(table.c.project_id == project_id)
    return (await connection.execute(statement)).scalar_one() or 0


async def remove(connection: AsyncConnection, project_id: str, number: int) -> None:
    """Forgets a release that never was."""
    await connection.execute(delete(table).where(table.c.project_id == project_id, table.c.number == number))


def _columns(release: Release) -> dict[str, object]:
    values: dict[str, object] = {column.name: getattr(release, column.name) for column in table.c}
    return values | {"record": release.record.to_json()}


def _release(row: Row[Any]) -> Release:
    values = dict(row._mapping)
    del values["pinned"]
    return Release(**values | {"state": State(row.state), "record": ReleaseRecord.from_json(row.record)})
