"""Plans of this server's releases: what serves and what is to serve as the sides that `hooks.plan` compares."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from clowdy.hooks.code import read_patterns
from clowdy.hooks.differences import LineCount, count_lines
from clowdy.hooks.plan import Plan, Side, Since, make_plan
from clowdy.server.git.repos import Repository
from clowdy.server.releases.context import Context
from clowdy.server.releases.layers import is_complete
from clowdy.server.releases.locks import find_any_lock
from clowdy.server.releases.prepare import Candidate
from clowdy.server.releases.serving import Serving
from clowdy.server.store import history
from clowdy.server.store.projects import Project

COMMITS_NAMED = 5
COMMITS_COUNTED = 1_000
ENTRIES_LOOKED_AT = 20


async def deploy_plan(
    context: Context,
    project: Project,
    repository: Repository,
    before: Serving | None,
    candidate: Candidate,
    *,
    restarts: bool = False,
) -> Plan:
    """What making `candidate` live changes; begins with what it brings back when `live` had gone back."""
    side = Side(
        commit=candidate.commit,
        manifest=candidate.manifest,
        versions=candidate.versions,
        codes={name: application.code.id for name, application in candidate.applications.items()},
        lock=candidate.lock,
        packages=candidate.locked.lock.versions if candidate.locked is not None else {},
    )
    if before is None:
        return make_plan(None, side)
    lines = await asyncio.to_thread(_lines, repository, before, side)
    since = await _since(context, project, repository, before, side)
    live = await asyncio.to_thread(_side, repository, before)
    return make_plan(live, side, lines=lines, since=since, restarts=restarts)


async def rollback_plan(
    context: Context, repository: Repository, before: Serving | None, after: Serving, *, restarts: bool = False
) -> Plan:
    """What serving `after` in place of `before` changes."""
    installed = await asyncio.to_thread(is_complete, context, repository, after)
    side = replace(await asyncio.to_thread(_side, repository, after), installed=installed)
    if before is None:
        return make_plan(None, side)
    lines = await asyncio.to_thread(_lines, repository, before, side)
    return make_plan(await asyncio.to_thread(_side, repository, before), side, lines=lines, restarts=restarts)


async def _since(
    context: Context, project: Project, repository: Repository, before: Serving, side: Side
) -> Since | None:
    """Why `live` is behind the deploy branch, if it is."""
    branch = repository.ref(project.deploy_branch) if project.deploy_branch else None
    if branch is None or branch == before.record.commit:
        return None
    async with context.store.reading() as connection:
        entries = await history.every(connection, project.id, ENTRIES_LOOKED_AT)
    # Starting the same release again does not change since when it serves.
    last = next((entry for entry in entries if entry.before != entry.release), None)
    if last is None:
        return None
    commits = await asyncio.to_thread(_brought_back, repository, before.record.commit, branch, side.commit)
    if not commits and last.how != "rollback":
        return None
    named = [f"{oid[:7]} {repository.commit(oid).subject}" for oid in commits[:COMMITS_NAMED]]
    more = len(commits) - len(named)
    return Since(before.number, last.who, last.how, context.clock() - last.at, tuple(named), more)


def _brought_back(repository: Repository, live: str, branch: str, candidate: str) -> list[str]:
    """What the branch has, `live` has not, and the candidate contains besides itself; the newest first."""
    shared = repository.merge_base(branch, candidate)
    if shared is None:
        return []
    return [oid for oid in repository.between(live, shared, COMMITS_COUNTED) if oid != candidate]


def _side(repository: Repository, serving: Serving) -> Side:
    lock = find_any_lock(repository, serving.record.lock) if serving.record.lock is not None else None
    return Side(
        commit=serving.record.commit,
        manifest=serving.manifest,
        versions=serving.record.functions,
        codes={name: application.code.id for name, application in serving.applications.items()},
        release=serving.number,
        lock=serving.record.lock,
        packages=lock.versions if lock is not None else {},
    )


def _lines(repository: Repository, before: Serving, after: Side) -> Mapping[str, LineCount]:
    if before.record.commit == after.commit:
        return {}
    changes = repository.differences(before.record.commit, after.commit)
    patterns = read_patterns(repository.tree(after.commit))
    return count_lines(changes, after.manifest.functions.values(), patterns)
