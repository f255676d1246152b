"""Projects: what they are called, now and before, and whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, Row, String, Table, Text, delete, insert, select, text
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from clowdy.server.errors import Conflict
from clowdy.server.store.tables import metadata

table = Table(
    "projects",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("name", String(40), nullable=False),
    Column("display_name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("deploy_branch", Text),
    Column("created_at", Float, nullable=False),
    Column("deleted_at", Float),
    # A deleted project keeps its name for a restore, and does not keep others from it.
    Index("uq_projects_name", "name", unique=True, sqlite_where=text("deleted_at IS NULL")),
)

aliases = Table(
    "aliases",
    metadata,
    Column("project_id", ForeignKey(table.c.id, ondelete="CASCADE"), primary_key=True),
    Column("name", String(40), primary_key=True),
    Column("position", Integer, nullable=False),
    Index("ix_aliases_name", "name"),
)


@dataclass(frozen=True, slots=True)
class Project:
    """One project. `aliases` are the names that it had before, oldest first, less those that others took."""

    id: str
    name: str
    display_name: str
    description: str
    owner: str
    deploy_branch: str | None
    aliases: tuple[str, ...]
    created_at: float
    deleted_at: float | None = None


async def add(connection: AsyncConnection, project: Project) -> None:
    """Remembers a new project; raises Conflict when its name or id is taken."""
    try:
        await connection.execute(insert(table).values(_columns(project)))
    except IntegrityError:
        raise Conflict(f"a project named {project.name} exists already") from None
    await _write_aliases(connection, project)


async def save(connection: AsyncConnection, project: Project) -> None:
    """Writes the whole project, new or known; raises Conflict when another one has its name."""
    values = _columns(project)
    statement = upsert(table).values(values)
    try:
        await connection.execute(statement.on_conflict_do_update(index_elements=[table.c.id], set_=values))
    except IntegrityError:
        raise Conflict(f"a project named {project.name} exists already") from None
    await connection.execute(delete(aliases).where(aliases.c.project_id == project.id))
    await _write_aliases(connection, project)


async def find(connection: AsyncConnection, ref: str, *, deleted: bool = False) -> Project | None:
    """The project with this id, name or alias, in this order; of deleted projects only when `deleted`.

    Of several deleted ones with the same name it is the one that was deleted last.
    """
    state = table.c.deleted_at.is_not(None) if deleted else table.c.deleted_at.is_(None)
    newest = (table.c.deleted_at.desc(), table.c.created_at.desc())
    for condition in (
        table.c.id == ref,
        table.c.name == ref,
        table.c.id.in_(select(aliases.c.project_id).where(aliases.c.name == ref)),
    ):
        rows = await connection.execute(select(table).where(condition, state).order_by(*newest).limit(1))
        if row := rows.first():
            return (await _with_aliases(connection, [row]))[0]
    return None


async def exists(connection: AsyncConnection, project_id: str) -> bool:
    """Whether there is a project of that id, deleted or not."""
    return (await connection.execute(select(table.c.id).where(table.c.id == project_id))).first() is not None


async def every(connection: AsyncConnection, *, deleted: bool = False) -> list[Project]:
    """Every project, or every deleted one, newest first."""
    state = table.c.deleted_at.is_not(None) if deleted else table.c.deleted_at.is_(None)
    order = (table.c.created_at.desc(), table.c.id)
    rows = await connection.execute(select(table).where(state).order_by(*order))
    return await _with_aliases(connection, rows.all())


async def called(connection: AsyncConnection, name: str) -> list[Project]:
    """The projects that have `name` as an alias, deleted ones too."""
    holders = select(aliases.c.project_id).where(aliases.c.name == name)
    rows = await connection.execute(select(table).where(table.c.id.in_(holders)))
    return await _with_aliases(connection, rows.all())


async def take_alias(connection: AsyncConnection, name: str) -> None:
    """Takes `name` from every project that had it as an alias, since a project is about to be called that."""
    await connection.execute(delete(aliases).where(aliases.c.name == name))


async def remove(connection: AsyncConnection, project_id: str) -> None:
    """Forgets a project and everything that is kept under its id."""
    for other in metadata.sorted_tables:
        # What may be older than its project, or outlives it until now, hangs on no foreign key.
        if other.name in {"pushes", "secrets", "tokens"}:
            await connection.execute(delete(other).where(other.c.project_id == project_id))
    await connection.execute(delete(table).where(table.c.id == project_id))


def _columns(project: Project) -> dict[str, object]:
    return {column.name: getattr(project, column.name) for column in table.c}


async def _write_aliases(connection: AsyncConnection, project: Project) -> None:
    rows = [
        {"project_id": project.id, "name": name, "position": position}
        for position, name in enumerate(dict.fromkeys(project.aliases))
    ]
    if rows:
        await connection.execute(insert(aliases), rows)


async def _with_aliases(connection: AsyncConnection, rows: Sequence[Row[tuple[object, ...]]]) -> list[Project]:
    if not rows:
        return []
    statement = select(aliases).order_by(aliases.c.position)
    if len(rows) == 1:
        statement = statement.where(aliases.c.project_id == rows[0].id)
    names: dict[str, list[str]] = {}
    for alias in await connection.execute(statement):
        names.setdefault(alias.project_id, []).append(alias.name)
    return [Project(**row._mapping, aliases=tuple(names.get(row.id, ()))) for row in rows]
