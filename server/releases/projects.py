"""Projects: made by a first push or by hand, renamed, deleted, brought back.

`refs/clowdy/project` of each repository is the record; it is written before a change counts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace

from clowdy.schema import names
from clowdy.schema.text import printable
from clowdy.server.errors import Conflict, Invalid, NotFound
from clowdy.server.git.refs import RefUpdate, transaction
from clowdy.server.git.repos import Repository
from clowdy.server.ids import new_id
from clowdy.server.releases.context import Context
from clowdy.server.store import audit, projects
from clowdy.server.store.projects import Project

RECORD = "refs/clowdy/project"
KEPT_SECONDS = 30 * 24 * 3600
_FORMAT = 1


@dataclass(slots=True)
class Pending:
    """A project that a push is about to make: a repository on disk, no row yet. `pushes` are under way."""

    id: str
    name: str
    owner: str
    repository: Repository
    pushes: int = 0
    settling: asyncio.Lock = field(default_factory=asyncio.Lock)


class ProjectDesk:
    """Who wants a project made or changed comes here."""

    def __init__(
        self,
        context: Context,
        reserved: frozenset[str],
        exclusive: Callable[[str], AbstractAsyncContextManager[object]],
        end_pushes: Callable[[str, str], Awaitable[None]],
    ) -> None:
        """`exclusive` holds a project as it is; `end_pushes` stops the pushes of a project id and tells them why."""
        self._context = context
        self._exclusive = exclusive
        self._end_pushes = end_pushes
        self._reserved = reserved
        self._pending: dict[str, Pending] = {}

    async def find(self, ref: str) -> Project:
        """The project of an id, name or alias; raises NotFound."""
        async with self._context.store.reading() as connection:
            project = await projects.find(connection, ref)
        if project is None:
            raise NotFound("Project not found")
        return project

    async def every(self, *, deleted: bool = False) -> list[Project]:
        """All of them, newest first."""
        async with self._context.store.reading() as connection:
            return await projects.every(connection, deleted=deleted)

    def check_name(self, name: str) -> None:
        """Raises Invalid for what cannot be a project's name here."""
        if not names.is_project(name):
            raise Invalid(
                f"{printable(name, 60)!r} cannot be a project's name: 2 to 40 lower-case letters, digits and '-', "
                "beginning with a letter and not ending with '-'"
            )
        if name in self._reserved:
            raise Invalid(f"{name} is reserved: its host name is the server's own")

    def reserve(self, name: str, owner: str) -> Pending:
        """A repository for a first push; `settle` or `abandon` ends it. Raises Invalid for a bad name."""
        self.check_name(name)
        pending = self._pending.get(name)
        if pending is None:
            project_id = new_id()
            pending = Pending(project_id, name, owner, self._context.repositories.create(project_id))
            self._pending[name] = pending
        pending.pushes += 1
        return pending

    async def settle(self, pending: Pending) -> tuple[Project, bool]:
        """The project of a first push, and whether this call made it."""
        async with pending.settling:
            async with self._context.store.reading() as connection:
                known = await projects.find(connection, pending.id)
                taken = await projects.find(connection, pending.name)
            if known is not None:
                return known, False
            if taken is not None and taken.name == pending.name:
                raise Conflict(f"project {pending.name} was made meanwhile: push again")
            return await self._make(pending.id, pending.name, pending.name, "", pending.owner, pending.repository), True

    async def abandon(self, pending: Pending) -> None:
        """The end of one first push: a repository whose project nobody made goes."""
        pending.pushes -= 1
        if pending.pushes > 0:
            return
        if self._pending.get(pending.name) is pending:
            del self._pending[pending.name]
        async with self._context.store.reading() as connection:
            known = await projects.exists(connection, pending.id)
        if not known:
            self._context.repositories.remove(pending.id)

    async def create(self, name: str, owner: str, *, display_name: str = "", description: str = "") -> Project:
        """A project without a commit; raises Conflict when the name is taken."""
        self.check_name(name)
        async with self._context.store.reading() as connection:
            taken = await projects.find(connection, name)
        if taken is not None and taken.name == name:
            raise Conflict(f"there is a project {name} already")
        project_id = new_id()
        repository = self._context.repositories.create(project_id)
        try:
            return await self._make(project_id, name, display_name or name, description, owner, repository)
        except BaseException:
            # A repository that says to be a project which is none would come back with the next reconcile.
            async with self._context.store.reading() as connection:
                known = await projects.exists(connection, project_id)
            if not known:
                self._context.repositories.remove(project_id)
            raise

    async def describe(self, project: Project, who: str, *, display_name: str, description: str) -> Project:
        """Changes what people read; names and URLs stay."""
        async with self._exclusive(project.id):
            project = await self.find(project.id)
            return await self._change(
                replace(project, display_name=display_name, description=description), who, "project.describe"
            )

    async def rename(self, project: Project, name: str, who: str) -> Project:
        """The old name stays as an alias until another project takes it."""
        self.check_name(name)
        if name == project.name:
            return project
        async with self._context.store.reading() as connection:
            taken = await projects.find(connection, name)
        if taken is not None and taken.name == name:
            raise Conflict(f"there is a project {name} already")
        async with self._exclusive(project.id):
            project = await self.find(project.id)
            aliases = tuple(alias for alias in (project.name, *project.aliases) if alias != name)
            display_name = name if project.display_name == project.name else project.display_name
            self._context.changes[project.id] += 1
            return await self._change(
                replace(project, name=name, display_name=display_name, aliases=aliases), who, "project.rename"
            )

    async def delete(self, project: Project, who: str) -> None:
        """Routes and instances end at once; the repository and the sealed secrets stay for 30 days."""
        async with self._exclusive(project.id):
            project = await self.find(project.id)
            await self._change(replace(project, deleted_at=self._context.clock()), who, "project.delete")
            self._context.live.pop(project.id, None)
            self._context.withdraw(project.id)
        await self._end_pushes(project.id, f"project {project.name} was deleted")
        await self._context.pool.end_project(project.id)

    async def restore(self, ref: str, who: str) -> Project:
        """A deleted project comes back; raises NotFound, or Conflict when its name is taken now."""
        async with self._context.store.reading() as connection:
            project = await projects.find(connection, ref, deleted=True)
            if project is None or project.deleted_at is None:
                raise NotFound(f"no deleted project {printable(ref, 60)}")
            taken = await projects.find(connection, project.name)
        if taken is not None and taken.id != project.id and taken.name == project.name:
            raise Conflict(f"the name {project.name} was taken meanwhile: rename the other project first")
        return await self._change(replace(project, deleted_at=None), who, "project.restore")

    async def purge(self) -> list[Project]:
        """Removes for good what was deleted 30 days ago; returns it."""
        now = self._context.clock()
        gone = [
            project
            for project in await self.every(deleted=True)
            if project.deleted_at is not None and project.deleted_at + KEPT_SECONDS < now
        ]
        for project in gone:
            await self._context.forget_calls(project.id)
            async with self._context.store.writing() as connection:
                await projects.remove(connection, project.id)
            self._context.repositories.remove(project.id)
        return gone

    async def _make(
        self, project_id: str, name: str, display_name: str, description: str, owner: str, repository: Repository
    ) -> Project:
        project = Project(
            id=project_id,
            name=name,
            display_name=display_name,
            description=description,
            owner=owner,
            deploy_branch=None,
            aliases=(),
            created_at=self._context.clock(),
        )
        await write_record(repository, project)
        await self._take_alias(name, project_id)
        async with self._context.store.writing() as connection:
            await projects.take_alias(connection, name)
            await projects.add(connection, project)
            await audit.add(connection, owner, "project.create", project.id, name, project.created_at)
        await self._context.adopt_secrets(name, project.id)
        self._context.announce(project)
        return project

    async def _take_alias(self, name: str, project_id: str) -> None:
        """Writes down in the repositories of those who were called so that they no longer are."""
        async with self._context.store.reading() as connection:
            holders = await projects.called(connection, name)
        for holder in holders:
            if holder.id != project_id:
                aliases = tuple(alias for alias in holder.aliases if alias != name)
                await write_record(self._context.repositories.open(holder.id), replace(holder, aliases=aliases))

    async def _change(self, project: Project, who: str, what: str) -> Project:
        """Writes the whole project; the caller holds it and has just read it, so that nothing newer is lost."""
        repository = self._context.repositories.open(project.id)
        before = repository.ref(RECORD)
        await write_record(repository, project)
        try:
            await self._take_alias(project.name, project.id)
            async with self._context.store.writing() as connection:
                await projects.take_alias(connection, project.name)
                await projects.save(connection, project)
                await audit.add(connection, who, what, project.id, project.name, self._context.clock())
        except Conflict:
            now = repository.ref(RECORD)
            if before is not None and now != before:
                await transaction(repository, [RefUpdate(RECORD, now, before)])
            raise
        if project.id not in self._context.live and project.deleted_at is None:
            self._context.announce(project)
        return project


async def write_record(repository: Repository, project: Project) -> None:
    """Writes refs/clowdy/project: what no commit says of a project."""
    content = {
        "format": _FORMAT,
        "id": project.id,
        "name": project.name,
        "display_name": project.display_name,
        "description": project.description,
        "aliases": list(project.aliases),
        "owner": project.owner,
        "created_at": project.created_at,
        "deleted_at": project.deleted_at,
    }
    blob = repository.write_blob(json.dumps(content, separators=(",", ":")).encode())
    old = repository.ref(RECORD)
    if old != blob:
        await transaction(repository, [RefUpdate(RECORD, old, blob)])


def read_record(repository: Repository, deploy_branch: str | None) -> Project:
    """The project that a repository says it is; raises ValueError."""
    oid = repository.ref(RECORD)
    if oid is None:
        raise ValueError(f"no {RECORD}")
    try:
        content = json.loads(repository.read_blob(oid))
        if content["format"] != _FORMAT:
            raise ValueError(f"project record of format {content['format']}, this server reads {_FORMAT}")
        aliases: Sequence[str] = content["aliases"]
        return Project(
            id=str(content["id"]),
            name=str(content["name"]),
            display_name=str(content["display_name"]),
            description=str(content["description"]),
            owner=str(content["owner"]),
            deploy_branch=deploy_branch,
            aliases=tuple(str(alias) for alias in aliases),
            created_at=float(content["created_at"]),
            deleted_at=None if content["deleted_at"] is None else float(content["deleted_at"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a project record: {error!r}") from None
