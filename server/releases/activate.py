"""The one way to change production: push, page, API, rollback and assistant end here.

A row says what is about to happen, one ref transaction makes it true (its last rename, refs/clowdy/live, is the
commit point), one assignment of the gateway's table serves it, the row says that it happened. Whatever is cut off
in between is finished or undone by `reconcile` at the next start.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from clowdy.hooks.report import Switched
from clowdy.schema.release import ReleaseRecord
from clowdy.server.errors import Conflict, GitError
from clowdy.server.git.refs import RefUpdate, transaction
from clowdy.server.git.repos import Repository
from clowdy.server.releases.commands import LIVE, RELEASE_TAGS
from clowdy.server.releases.context import Context
from clowdy.server.releases.history import REF as HISTORY
from clowdy.server.releases.history import write_entry
from clowdy.server.releases.prepare import Candidate
from clowdy.server.releases.serving import Serving
from clowdy.server.store import functions, history, projects, releases, versions
from clowdy.server.store.history import Entry
from clowdy.server.store.projects import Project
from clowdy.server.store.releases import Release, State
from clowdy.server.store.versions import Version

SERVES = "refs/clowdy/live"

T = TypeVar("T")


class LiveMoved(Conflict):
    """`live` is not what it was when the change began."""

    def __init__(self, serving: Serving | None, entry: Entry | None) -> None:
        where = f"deploy/{serving.number}" if serving else "nothing"
        by = f" ({entry.who}, {entry.how})" if entry else ""
        super().__init__(f"live moved to {where}{by} while this was building; push again to replace it")


@dataclass(frozen=True, slots=True)
class Activation:
    """Something went live. `switched_ms` is from the row to the table's assignment."""

    serving: Serving
    before: Serving | None
    live_before: str | None
    entry: Entry
    switched_ms: float

    def switched(self) -> Switched:
        """What the report says of it."""
        return Switched(
            release=self.serving.number,
            commit=self.serving.record.commit,
            milliseconds=self.switched_ms,
            before=self.before.number if self.before else None,
            before_commit=self.before.record.commit if self.before else None,
        )


@dataclass(frozen=True, slots=True)
class BranchMove:
    """The deploy branch moves with a release: `ref` from `old` (None: it is new) to the release's commit."""

    ref: str
    old: str | None


class Activator:
    """Makes one release of a project live at a time."""

    def __init__(self, context: Context, went_live: Callable[[Activation], None]) -> None:
        self._context = context
        self._went_live = went_live
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def deploy(
        self,
        project: Project,
        repository: Repository,
        candidate: Candidate,
        *,
        expected: Serving | None,
        branch: BranchMove | None,
        who: str,
        how: str,
        plan: str,
        started: float,
        others: Sequence[RefUpdate] = (),
    ) -> Activation:
        """Makes a candidate the next release; raises LiveMoved, or Conflict when a ref moved meanwhile.

        `others` are refs of the same atomic push, moved in the same transaction.
        """
        async with self._locks[project.id]:
            current = self._context.live.get(project.id)
            if current is not expected:
                raise await self._live_moved(project, current)
            return await uninterrupted(
                self._deploy(project, repository, candidate, branch, who, how, plan, started, others)
            )

    async def go_back(
        self,
        project: Project,
        repository: Repository,
        target: Serving,
        *,
        who: str,
        how: str,
        why: str = "",
        expected: Serving | None = None,
        others: Sequence[RefUpdate] = (),
    ) -> Activation:
        """Serves a release that exists already; raises LiveMoved when `expected` is given and is not what serves."""
        async with self._locks[project.id]:
            current = self._context.live.get(project.id)
            if expected is not None and current is not expected:
                raise await self._live_moved(project, current)
            return await uninterrupted(self._go_back(project, repository, target, who, how, why, others))

    async def reload(self, project: Project, load: Callable[[], Awaitable[Serving]], *, expected: Serving) -> Serving:
        """Serves the same release with other values: a secret or a name changed. What `load` makes is returned.

        Raises LiveMoved when something else went live meanwhile: its start has the new values already.
        """
        async with self._locks[project.id]:
            current = self._context.live.get(project.id)
            if current is not expected:
                raise await self._live_moved(project, current)
            serving = await load()
            self._serve(serving)
            return serving

    async def _deploy(
        self,
        project: Project,
        repository: Repository,
        candidate: Candidate,
        branch: BranchMove | None,
        who: str,
        how: str,
        plan: str,
        started: float,
        others: Sequence[RefUpdate],
    ) -> Activation:
        context = self._context
        before = context.live.get(project.id)
        switch = time.perf_counter()
        now = context.clock()
        async with context.store.reading() as connection:
            number = await releases.last_number(connection, project.id) + 1
            last = await history.last(connection, project.id)
        record = ReleaseRecord(
            number=number,
            commit=candidate.commit,
            functions=candidate.versions,
            previous=before.number if before else None,
            who=who,
            how=how,
            when=int(now),
            branch=branch.ref if branch else None,
        )
        entry = Entry(
            project_id=project.id,
            sequence=last.sequence + 1 if last else 1,
            release=number,
            before=before.number if before else None,
            who=who,
            how=how,
            why="",
            at=now,
        )
        tag, history_old, history_new, live_old = await asyncio.to_thread(_write_release, repository, record, entry)
        release = Release(
            project_id=project.id,
            number=number,
            state=State.PREPARED,
            tag=tag,
            commit=candidate.commit,
            record=record,
            plan=plan,
            duration_ms=(now - started) * 1000,
            created_at=now,
        )
        async with context.store.writing() as connection:
            await releases.add(connection, release)
        updates = [
            RefUpdate(f"{RELEASE_TAGS}{number}", None, tag),
            RefUpdate(HISTORY, history_old, history_new),
            *others,
            *([RefUpdate(branch.ref, branch.old, candidate.commit)] if branch else []),
            RefUpdate(LIVE, live_old, candidate.commit),
            RefUpdate(SERVES, before.tag if before else None, tag),
        ]
        if branch is not None and project.deploy_branch is None:
            # Before the refs: a HEAD that names a branch which is not there yet harms nothing, the reverse would.
            await asyncio.to_thread(repository.set_head, branch.ref)
        try:
            await transaction(repository, updates)
        except (Conflict, GitError):
            if repository.ref(SERVES) != tag:
                async with context.store.writing() as connection:
                    await releases.remove(connection, project.id, number)
                raise
        serving = Serving(project, record, tag, candidate.manifest, candidate.applications)
        self._serve(serving)
        switched_ms = (time.perf_counter() - switch) * 1000
        async with context.store.writing() as connection:
            await _index(connection, project, replace(release, state=State.DONE), entry)
            if branch is not None and project.deploy_branch is None:
                await projects.save(connection, replace(project, deploy_branch=branch.ref))
        return self._done(Activation(serving, before, live_old, entry, switched_ms))

    async def _go_back(
        self,
        project: Project,
        repository: Repository,
        target: Serving,
        who: str,
        how: str,
        why: str,
        others: Sequence[RefUpdate],
    ) -> Activation:
        context = self._context
        before = context.live.get(project.id)
        switch = time.perf_counter()
        now = context.clock()
        async with context.store.reading() as connection:
            last = await history.last(connection, project.id)
        entry = Entry(
            project_id=project.id,
            sequence=last.sequence + 1 if last else 1,
            release=target.number,
            before=before.number if before else None,
            who=who,
            how=how,
            why=why,
            at=now,
        )
        history_old, history_new, live_old = await asyncio.to_thread(_write_history, repository, entry, target.tag)
        updates = [
            RefUpdate(HISTORY, history_old, history_new),
            *others,
            RefUpdate(LIVE, live_old, target.record.commit),
            RefUpdate(SERVES, before.tag if before else None, target.tag),
        ]
        await transaction(repository, updates)
        self._serve(target)
        switched_ms = (time.perf_counter() - switch) * 1000
        async with context.store.writing() as connection:
            await history.add(connection, entry)
        return self._done(Activation(target, before, live_old, entry, switched_ms))

    def _done(self, activation: Activation) -> Activation:
        self._went_live(activation)
        return activation

    def _serve(self, serving: Serving) -> None:
        self._context.live[serving.project.id] = serving
        self._context.publish(serving)
        self._context.pool.keep_project(serving.project.id, serving.applications.values())

    async def _live_moved(self, project: Project, current: Serving | None) -> LiveMoved:
        async with self._context.store.reading() as connection:
            return LiveMoved(current, await history.last(connection, project.id))


async def index_release(connection: Any, project: Project, release: Release) -> None:
    """Writes what a release's record says about functions and versions into the database; repeatable."""
    for version in release.record.functions.values():
        function = await functions.ensure(connection, project.id, version.name, version.function_id, release.created_at)
        known = await versions.by_digest(connection, function.id, version.digest)
        if known is None:
            await versions.add(
                connection, Version(function.id, version.number, version.digest, release.commit, release.created_at)
            )
    await releases.save(connection, release)


async def _index(connection: Any, project: Project, release: Release, entry: Entry) -> None:
    await index_release(connection, project, release)
    await history.add(connection, entry)


def release_message(record: ReleaseRecord, subject: str) -> str:
    """The message of `deploy/N`: a readable first line, and the record as its last."""
    return f"deploy/{record.number}: {subject}\n\n{record.how} by {record.who}\n\n{record.to_json()}\n"


def _write_release(
    repository: Repository, record: ReleaseRecord, entry: Entry
) -> tuple[str, str | None, str, str | None]:
    subject = repository.commit(record.commit).subject
    tag = repository.write_tag(
        record.tag, record.commit, release_message(record, subject), record.who, float(record.when)
    )
    history_old, history_new, live_old = _write_history(repository, entry, tag)
    return tag, history_old, history_new, live_old


def _write_history(repository: Repository, entry: Entry, tag: str) -> tuple[str | None, str, str | None]:
    history_old = repository.ref(HISTORY)
    return history_old, write_entry(repository, entry, tag, history_old), repository.ref(LIVE)


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Awaits `work` to its end also when the caller is cancelled meanwhile; the cancellation then goes on."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            # What was begun is done: its result counts more than the wish to stop it.
            return task.result()
        raise
