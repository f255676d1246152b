"""Refs against records: what was interrupted is finished or undone, what is missing is read back from git.

`refs/clowdy/live` says what serves. Everything else, the branches and the database, follows it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from clowdy.schema.release import ReleaseRecord
from clowdy.server.errors import ClowdyError
from clowdy.server.git.refs import RefUpdate, transaction
from clowdy.server.git.repos import Repository
from clowdy.server.releases.activate import SERVES, index_release
from clowdy.server.releases.commands import LIVE, RELEASE_TAGS
from clowdy.server.releases.context import Context
from clowdy.server.releases.history import REF as HISTORY
from clowdy.server.releases.history import read_chain, read_entry, write_entry
from clowdy.server.releases.load import load
from clowdy.server.releases.projects import read_record
from clowdy.server.store import history, projects, releases
from clowdy.server.store.history import Entry
from clowdy.server.store.projects import Project
from clowdy.server.store.releases import Release, State


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was found in one project. `ahead` is a commit of the deploy branch that has no release yet."""

    project: Project
    lines: tuple[str, ...]
    ahead: str | None = None


async def reconcile_all(context: Context) -> list[Reconciled]:
    """Reconciles every project; one that cannot be read is reported and serves nothing."""
    results = []
    async with context.store.reading() as connection:
        every = await projects.every(connection)
    for project in every:
        try:
            results.append(await reconcile(context, project))
        except (ClowdyError, ValueError, KeyError, OSError) as error:
            context.report(f"project {project.name} cannot be loaded", error)
    return results


async def reconcile(context: Context, project: Project) -> Reconciled:
    """Finishes or undoes what was cut off, indexes what the database lacks, and serves what git says."""
    repository = context.repositories.open(project.id)
    lines = [await _settle_release(context, project, repository, row) for row in await _prepared(context, project)]
    lines.extend(await _settle_history(project, repository))
    lines.extend(await _index_missing(context, project, repository))
    serving_tag = repository.ref(SERVES)
    if serving_tag is None:
        return Reconciled(project, tuple(lines))
    record = _record_of(repository, serving_tag)
    live = repository.ref(LIVE)
    if live != record.commit:
        await transaction(repository, [RefUpdate(LIVE, live, record.commit)])
        lines.append(f"live set to deploy/{record.number}, which serves")
    serving = await load(context, project, repository, record, serving_tag)
    context.live[project.id] = serving
    context.publish(serving)
    context.pool.keep_project(project.id, serving.applications.values())
    return Reconciled(project, tuple(lines), await _ahead(context, project, repository))


async def rebuild(context: Context, project_ids: list[str]) -> list[str]:
    """Writes the database anew from the repositories alone; one line for each project."""
    lines = []
    for project_id in project_ids:
        try:
            repository = context.repositories.open(project_id)
            project = read_record(repository, repository.head())
        except (ClowdyError, ValueError, OSError) as error:
            lines.append(f"{project_id}: not a project of this server: {error}")
            continue
        async with context.store.writing() as connection:
            known = await projects.exists(connection, project_id)
            branch = project.deploy_branch if _has_releases(repository) else None
            project = replace(project, deploy_branch=branch)
            if not known:
                await projects.add(connection, project)
            else:
                await projects.save(connection, project)
        found = await _index_missing(context, project, repository)
        chain = await asyncio.to_thread(read_chain, repository, project.id)
        async with context.store.writing() as connection:
            await history.replace_all(connection, project.id, [entry for entry, _ in chain])
        lines.append(f"{project.name}: {len(chain)} times live, {found[0] if found else 'nothing was missing'}")
    return lines


async def _prepared(context: Context, project: Project) -> list[Release]:
    async with context.store.reading() as connection:
        return await releases.prepared(connection, project.id)


async def _settle_release(context: Context, project: Project, repository: Repository, row: Release) -> str:
    """A release whose tag stands is finished; one without it never happened."""
    ref = f"{RELEASE_TAGS}{row.number}"
    if row.tag is None or repository.ref(ref) != row.tag:
        async with context.store.writing() as connection:
            await releases.remove(connection, project.id, row.number)
        return f"deploy/{row.number} was interrupted before its refs moved: undone"
    record = row.record
    serves = repository.ref(SERVES)
    if serves != row.tag:
        before = _record_of(repository, serves).number if serves else None
        chain = await asyncio.to_thread(read_chain, repository, project.id)
        updates = []
        if not chain or chain[-1][1] != row.tag:
            entry = Entry(
                project_id=project.id,
                sequence=chain[-1][0].sequence + 1 if chain else 1,
                release=row.number,
                before=before,
                who=record.who,
                how=record.how,
                why="",
                at=float(record.when),
            )
            tip = repository.ref(HISTORY)
            updates.append(RefUpdate(HISTORY, tip, write_entry(repository, entry, row.tag, tip)))
        updates.extend(
            RefUpdate(name, repository.ref(name), record.commit)
            for name in (record.branch, LIVE)
            if name is not None and repository.ref(name) != record.commit
        )
        updates.append(RefUpdate(SERVES, serves, row.tag))
        await transaction(repository, updates)
    async with context.store.writing() as connection:
        await index_release(connection, project, replace(row, state=State.DONE))
        if record.branch is not None and project.deploy_branch is None:
            await projects.save(connection, replace(project, deploy_branch=record.branch))
    return f"deploy/{row.number} was interrupted while its refs moved: finished"


async def _settle_history(project: Project, repository: Repository) -> list[str]:
    """The chain may be one entry ahead of what serves: a rollback was cut off before its commit point."""
    tip, serves = repository.ref(HISTORY), repository.ref(SERVES)
    if tip is None:
        return []
    entry, tag = read_entry(repository, project.id, tip)
    if tag == serves:
        return []
    parents = repository.commit(tip).parents
    await transaction(repository, [RefUpdate(HISTORY, tip, parents[0] if parents else None)])
    return [f"{entry.how} to deploy/{entry.release} was interrupted: undone"]


async def _index_missing(context: Context, project: Project, repository: Repository) -> list[str]:
    """Reads releases and history that git has and the database lacks."""
    tags = {
        int(ref.removeprefix(RELEASE_TAGS)): oid
        for ref, oid in repository.refs(RELEASE_TAGS).items()
        if ref.removeprefix(RELEASE_TAGS).isdecimal()
    }
    async with context.store.reading() as connection:
        known = {release.number: release.tag for release in await releases.every(connection, project.id)}
        last = await history.last(connection, project.id)
    missing = sorted(number for number, oid in tags.items() if known.get(number) != oid)
    for number in missing:
        record = _record_of(repository, tags[number])
        release = Release(
            project_id=project.id,
            number=number,
            state=State.DONE,
            tag=tags[number],
            commit=record.commit,
            record=record,
            plan="",
            duration_ms=0.0,
            created_at=float(record.when),
        )
        async with context.store.writing() as connection:
            await releases.remove(connection, project.id, number)
            await index_release(connection, project, release)
    tip = repository.ref(HISTORY)
    if tip is not None:
        newest, _ = read_entry(repository, project.id, tip)
        if last is None or last.sequence != newest.sequence:
            chain = await asyncio.to_thread(read_chain, repository, project.id)
            async with context.store.writing() as connection:
                await history.replace_all(connection, project.id, [entry for entry, _ in chain])
    return [f"{len(missing)} releases read from git"] if missing else []


async def _ahead(context: Context, project: Project, repository: Repository) -> str | None:
    """The deploy branch's commit when no release has it: a repository was restored by hand."""
    tip = repository.ref(project.deploy_branch) if project.deploy_branch else None
    if tip is None:
        return None
    async with context.store.reading() as connection:
        return None if await releases.newest_of_commit(connection, project.id, tip) else tip


def _record_of(repository: Repository, tag: str) -> ReleaseRecord:
    message = repository.tag(tag).message.rstrip("\n")
    return ReleaseRecord.from_json(message.rsplit("\n", 1)[-1])


def _has_releases(repository: Repository) -> bool:
    return bool(repository.refs(RELEASE_TAGS))
