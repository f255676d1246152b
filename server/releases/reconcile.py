"""Refs against records: what was interrupted is finished or undone, what is missing is read back from git.

`refs/clowdy/live` says what serves. Everything else, the branches and the database, follows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import delete

from clowdy.server.errors import ClowdyError
from clowdy.server.git.repos import Repository
from clowdy.server.releases.commands import RELEASE_TAGS
from clowdy.server.releases.context import Context
from clowdy.server.releases.history import REF as HISTORY
from clowdy.server.releases.history import read_chain, read_entry
from clowdy.server.releases.index import index_release
from clowdy.server.releases.load import load, unreadable
from clowdy.server.releases.projects import read_record
from clowdy.server.releases.serving import Serving
from clowdy.server.releases.settle import SERVES, record_of, settle_going_back, settle_release
from clowdy.server.store import functions, history, projects, releases
from clowdy.server.store.projects import Project
from clowdy.server.store.releases import Release, State

UNREADABLE = (ClowdyError, ValueError, KeyError, OSError)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was found in one project. `ahead` is a commit of the deploy branch that has no release yet."""

    project: Project
    lines: tuple[str, ...]
    ahead: str | None = None


async def reconcile_all(context: Context) -> list[Reconciled]:
    """Reconciles every project."""
    async with context.store.reading() as connection:
        every = await projects.every(connection)
    results = [await reconcile_or_report(context, project) for project in every]
    return [result for result in results if result is not None]


async def reconcile_or_report(context: Context, project: Project) -> Reconciled | None:
    """Reconciles one project; one that cannot be read is reported and serves nothing."""
    try:
        return await reconcile(context, project)
    except UNREADABLE as error:
        context.report(f"project {project.name} cannot be loaded", error)
        return None


async def reconcile(context: Context, project: Project) -> Reconciled:
    """Finishes or undoes what was cut off, indexes what the database lacks, and serves what git says."""
    repository = context.repositories.open(project.id)
    async with context.store.reading() as connection:
        prepared = await releases.prepared(connection, project.id)
    lines = [await settle_release(context, project, repository, row) for row in prepared]
    lines.extend(await settle_going_back(project, repository))
    lines.extend(await _index_missing(context, project, repository))
    if prepared:
        async with context.store.reading() as connection:
            project = await projects.find(connection, project.id) or project
    serving_tag = repository.ref(SERVES)
    if serving_tag is not None:
        serving = await _load(context, project, repository, serving_tag)
        context.live[project.id] = serving
        context.publish(serving)
        context.pool.keep_project(project.id, serving.applications.values())
    else:
        context.announce(project)
    return Reconciled(project, tuple(lines), await _ahead(context, project, repository))


async def _load(context: Context, project: Project, repository: Repository, tag: str) -> Serving:
    record = record_of(repository, tag)
    try:
        return await load(context, project, repository, record, tag)
    except UNREADABLE as error:
        # The project is known, callers are told that it cannot start, and the next push replaces it.
        context.report(f"deploy/{record.number} of {project.name} cannot be loaded", error)
        return unreadable(project, record, tag, f"deploy/{record.number} cannot be read: {error}")


async def rebuild(context: Context, project_id: str) -> str:
    """Writes what the database knows of a project anew from its repository alone; says what was found."""
    try:
        return await _rebuild(context, project_id)
    except UNREADABLE as error:
        return f"{project_id}: not a project of this server: {error}"


async def _rebuild(context: Context, project_id: str) -> str:
    repository = context.repositories.open(project_id)
    project = read_record(repository, None)
    if project.id != project_id:
        raise ValueError(f"its record is that of project {project.id}")
    head = repository.head()
    if repository.ref(head) is not None and repository.refs(RELEASE_TAGS):
        project = replace(project, deploy_branch=head)
    async with context.store.writing() as connection:
        if await projects.exists(connection, project_id):
            await projects.save(connection, project)
        else:
            await projects.add(connection, project)
        known = {release.tag: release for release in await releases.every(connection, project_id)}
        # Whatever the rows say: they are read again, and only what no tag says is kept of them.
        await connection.execute(delete(releases.table).where(releases.table.c.project_id == project_id))
        await connection.execute(delete(functions.table).where(functions.table.c.project_id == project_id))
        found = await asyncio.to_thread(_releases, repository, project_id)
        for release in found:
            before = known.get(release.tag)
            if before is not None:
                release = replace(
                    release, plan=before.plan, duration_ms=before.duration_ms, created_at=before.created_at
                )
            await index_release(connection, project, release)
        chain = await asyncio.to_thread(read_chain, repository, project_id)
        await history.replace_all(connection, project_id, [entry for entry, _ in chain])
    state = "deleted, " if project.deleted_at is not None else ""
    return f"{project.name} ({project.id}): {state}{len(found)} releases read from git"


async def _index_missing(context: Context, project: Project, repository: Repository) -> list[str]:
    """Reads releases and history that git has and the database lacks."""
    async with context.store.reading() as connection:
        known = await releases.tags(connection, project.id)
        last, count = await history.last(connection, project.id), await history.count(connection, project.id)
    missing = await asyncio.to_thread(_releases, repository, project.id, known)
    for release in missing:
        async with context.store.writing() as connection:
            await releases.remove(connection, project.id, release.number)
            await index_release(connection, project, release)
    tip = repository.ref(HISTORY)
    if tip is not None:
        newest, _ = read_entry(repository, project.id, tip)
        if last is None or (last.sequence, count) != (newest.sequence, newest.sequence):
            chain = await asyncio.to_thread(read_chain, repository, project.id)
            async with context.store.writing() as connection:
                await history.replace_all(connection, project.id, [entry for entry, _ in chain])
    return [f"{len(missing)} releases read from git"] if missing else []


def _releases(repository: Repository, project_id: str, known: Mapping[int, str | None] | None = None) -> list[Release]:
    """What the release tags say, oldest first, less those that are `known`."""
    tags = {
        int(ref.removeprefix(RELEASE_TAGS)): oid
        for ref, oid in repository.refs(RELEASE_TAGS).items()
        if ref.removeprefix(RELEASE_TAGS).isdecimal()
    }
    found = []
    for number, tag in sorted(tags.items()):
        if known is None or known.get(number) != tag:
            record = record_of(repository, tag)
            found.append(
                Release(
                    project_id=project_id,
                    number=number,
                    state=State.DONE,
                    tag=tag,
                    commit=record.commit,
                    record=record,
                    plan="",
                    duration_ms=0.0,
                    created_at=float(record.when),
                )
            )
    return found


async def _ahead(context: Context, project: Project, repository: Repository) -> str | None:
    """The deploy branch's commit when no release has it: a repository was restored by hand."""
    tip = repository.ref(project.deploy_branch) if project.deploy_branch else None
    if tip is None:
        return None
    async with context.store.reading() as connection:
        return None if await releases.newest_of_commit(connection, project.id, tip) else tip
