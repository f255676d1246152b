"""A change that was cut off is finished or undone. `refs/clowdy/live` says what serves; everything else follows it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from clowdy.schema.release import ReleaseRecord
from clowdy.server.git.refs import RefUpdate, transaction
from clowdy.server.git.repos import Repository
from clowdy.server.releases.commands import LIVE, RELEASE_TAGS
from clowdy.server.releases.context import Context
from clowdy.server.releases.history import REF as HISTORY
from clowdy.server.releases.history import read_chain, read_entry, write_entry
from clowdy.server.releases.index import index_release
from clowdy.server.releases.locks import REF as LOCKS
from clowdy.server.store import projects, pushes, releases
from clowdy.server.store.history import Entry
from clowdy.server.store.projects import Project
from clowdy.server.store.releases import Release, State

SERVES = "refs/clowdy/live"


def record_of(repository: Repository, tag: str) -> ReleaseRecord:
    """What a release's tag object says; raises ValueError for any other tag."""
    message = repository.tag(tag).message.rstrip("\n")
    return ReleaseRecord.from_json(message.rsplit("\n", 1)[-1])


async def settle_release(context: Context, project: Project, repository: Repository, row: Release) -> str:
    """A prepared release whose tag stands is finished; one without it never happened. Says which."""
    if row.tag is None or repository.ref(f"{RELEASE_TAGS}{row.number}") != row.tag:
        async with context.store.writing() as connection:
            await releases.remove(connection, project.id, row.number)
        return f"deploy/{row.number} was interrupted before its refs moved: undone"
    if repository.ref(SERVES) != row.tag:
        await _finish(project, repository, row, row.tag)
    branch = row.record.branch
    async with context.store.writing() as connection:
        await index_release(connection, project, replace(row, state=State.DONE))
        await pushes.finish_interrupted(connection, project.id, row.record.commit, row.number)
        known = await projects.find(connection, project.id)
        if branch is not None and known is not None and known.deploy_branch is None:
            await projects.save(connection, replace(known, deploy_branch=branch))
    return f"deploy/{row.number} was interrupted while its refs moved: finished"


async def _finish(project: Project, repository: Repository, row: Release, tag: str) -> None:
    record = row.record
    chain = await asyncio.to_thread(read_chain, repository, project.id)
    went_live = any(made_live == tag for _, made_live in chain)
    if chain and chain[-1][1] != tag and (went_live or chain[-1][0].at > row.created_at):
        # Something else has gone live since: only the row was never written to the end.
        return
    serves = repository.ref(SERVES)
    updates = []
    locks = repository.ref(LOCKS)
    if record.locks is not None and locks in (None, *repository.commit(record.locks).parents):
        updates.append(RefUpdate(LOCKS, locks, record.locks))
    if not chain or chain[-1][1] != tag:
        entry = Entry(
            project_id=project.id,
            sequence=chain[-1][0].sequence + 1 if chain else 1,
            release=row.number,
            before=record_of(repository, serves).number if serves else None,
            who=record.who,
            how=record.how,
            why="",
            at=row.created_at,
            duration_ms=row.duration_ms,
        )
        tip = repository.ref(HISTORY)
        updates.append(RefUpdate(HISTORY, tip, await asyncio.to_thread(write_entry, repository, entry, tag, tip)))
    updates.extend(
        RefUpdate(name, repository.ref(name), record.commit)
        for name in (record.branch, LIVE)
        if name is not None and repository.ref(name) != record.commit
    )
    updates.append(RefUpdate(SERVES, serves, tag))
    await transaction(repository, updates)


async def settle_history(project: Project, repository: Repository) -> list[str]:
    """The chain may be one entry ahead of what serves: going back was cut off before its commit point."""
    tip, serves = repository.ref(HISTORY), repository.ref(SERVES)
    if tip is None:
        return []
    entry, tag = read_entry(repository, project.id, tip)
    if tag == serves:
        return []
    parents = repository.commit(tip).parents
    await transaction(repository, [RefUpdate(HISTORY, tip, parents[0] if parents else None)])
    return [f"{entry.how} to deploy/{entry.release} was interrupted: undone"]


async def settle_live(repository: Repository) -> list[str]:
    """`live` is what serves: going back was cut off between the two, or somebody moved it by hand."""
    serves, live = repository.ref(SERVES), repository.ref(LIVE)
    if serves is None:
        return []
    record = record_of(repository, serves)
    if live == record.commit:
        return []
    await transaction(repository, [RefUpdate(LIVE, live, record.commit)])
    return [f"live set to deploy/{record.number}, which serves"]


async def settle_going_back(project: Project, repository: Repository) -> list[str]:
    """A release that was to serve again either does, or nothing has changed. Says what was undone."""
    return [*await settle_history(project, repository), *await settle_live(repository)]
