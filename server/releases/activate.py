"""The one way to change production: push, page, API, rollback and assistant end here.

A row says what is about to happen, one ref transaction makes it true (its last rename, refs/clowdy/live, is the
commit point), one assignment of the gateway's table serves it, the row says that it happened. Whatever is cut off
in between is finished or undone by `reconcile` at the next start.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from clowdy.hooks.plan import Plan
from clowdy.hooks.report import Switched
from clowdy.schema.release import ReleaseRecord
from clowdy.server.errors import ClowdyError, Conflict
from clowdy.server.git.loose import Drafts
from clowdy.server.git.refs import RefUpdate, transaction
from clowdy.server.git.repos import Repository
from clowdy.server.releases.commands import LIVE, RELEASE_TAGS, short
from clowdy.server.releases.context import Context
from clowdy.server.releases.history import REF as HISTORY
from clowdy.server.releases.history import read_entry, write_entry
from clowdy.server.releases.index import index_release
from clowdy.server.releases.load import load
from clowdy.server.releases.locks import REF as LOCKS
from clowdy.server.releases.locks import Kept, keep
from clowdy.server.releases.prepare import Candidate
from clowdy.server.releases.serving import Serving
from clowdy.server.releases.settle import SERVES, settle_going_back, settle_release
from clowdy.server.store import history, projects, releases
from clowdy.server.store.history import Entry
from clowdy.server.store.projects import Project
from clowdy.server.store.releases import Release, State

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


@dataclass(frozen=True, slots=True)
class Cause:
    """Who makes something live, how and why, when it was `started`, and the `plan` of what it changes."""

    who: str
    how: str
    started: float
    plan: Plan
    why: str = ""


class Activator:
    """Makes one release of a project live at a time."""

    def __init__(self, context: Context, went_live: Callable[[Activation], None]) -> None:
        self._context = context
        self._went_live = went_live
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def exclusive(self, project_id: str) -> asyncio.Lock:
        """Held, nothing of the project goes live and its names do not change."""
        return self._locks[project_id]

    async def deploy(
        self,
        project: Project,
        repository: Repository,
        candidate: Candidate,
        cause: Cause,
        *,
        expected: Serving | None,
        branch: BranchMove | None,
        others: Sequence[RefUpdate] = (),
    ) -> Activation:
        """Makes a candidate the next release; raises LiveMoved, or Conflict when a ref moved meanwhile.

        `others` are refs of the same atomic push, moved in the same transaction.
        """
        async with self.exclusive(project.id):
            current = self._context.live.get(project.id)
            if _tag(current) != _tag(expected):
                raise await self._live_moved(project, current)
            return await uninterrupted(self._deploy(project, repository, candidate, cause, branch, others))

    async def go_back(
        self,
        project: Project,
        repository: Repository,
        target: Serving,
        cause: Cause,
        *,
        expected: Serving | None = None,
        others: Sequence[RefUpdate] = (),
    ) -> Activation:
        """Serves a release that exists already; raises LiveMoved when `expected` is given and is not what serves."""
        async with self.exclusive(project.id):
            current = self._context.live.get(project.id)
            if expected is not None and _tag(current) != _tag(expected):
                raise await self._live_moved(project, current)
            return await uninterrupted(self._go_back(project, repository, target, cause, others))

    async def reload(self, project_id: str) -> tuple[Serving, Serving] | None:
        """Serves the same release with other values: a secret or a name changed. Gives what served and what serves."""
        context = self._context
        context.changes[project_id] += 1
        async with self.exclusive(project_id):
            before = context.live.get(project_id)
            async with context.store.reading() as connection:
                project = await projects.find(connection, project_id)
            if before is None or project is None:
                return None
            repository = context.repositories.open(project_id)
            serving = await load(context, project, repository, before.record, before.tag)
            self._serve(serving)
            return before, serving

    async def _deploy(
        self,
        project: Project,
        repository: Repository,
        candidate: Candidate,
        cause: Cause,
        branch: BranchMove | None,
        others: Sequence[RefUpdate],
    ) -> Activation:
        context = self._context
        before = context.live.get(project.id)
        switch = time.perf_counter()
        now = context.clock()
        async with context.store.reading() as connection:
            project = await _present(connection, project)
            number = await releases.last_number(connection, project.id) + 1
        if branch is not None and project.deploy_branch not in (None, branch.ref):
            raise Conflict(f"{short(project.deploy_branch or '')} became the deploy branch meanwhile: push again")
        record = ReleaseRecord(
            number=number,
            commit=candidate.commit,
            functions=candidate.versions,
            previous=before.number if before else None,
            who=cause.who,
            how=cause.how,
            when=int(now),
            branch=branch.ref if branch else None,
            lock=candidate.lock,
        )
        serving = Serving(project, record, "", candidate.manifest, candidate.applications, changes=candidate.changes)
        files = candidate.locked.files if candidate.locked is not None else {}
        serving = await self._up_to_date(project, repository, serving)
        entry = _entry(serving, before, cause, now)
        record, written = await asyncio.to_thread(_write_release, repository, record, entry, files)
        serving = replace(serving, record=record, tag=written.tag)
        release = Release(
            project_id=project.id,
            number=number,
            state=State.PREPARED,
            tag=written.tag,
            commit=candidate.commit,
            record=record,
            plan=json.dumps(cause.plan.as_json()),
            duration_ms=entry.duration_ms,
            created_at=now,
        )
        async with context.store.writing() as connection:
            await releases.add(connection, release)
        if branch is not None and project.deploy_branch is None:
            # Before the refs: a HEAD that names a branch which is not there yet harms nothing, the reverse would.
            await asyncio.to_thread(repository.set_head, branch.ref)
        try:
            await transaction(
                repository,
                [
                    RefUpdate(f"{RELEASE_TAGS}{number}", None, written.tag),
                    *([RefUpdate(LOCKS, written.locks.tip, written.locks.commit)] if written.locks else []),
                    RefUpdate(HISTORY, written.tip, written.entry),
                    *others,
                    *([RefUpdate(branch.ref, branch.old, candidate.commit)] if branch else []),
                    RefUpdate(LIVE, written.live, candidate.commit),
                    RefUpdate(SERVES, written.serves, written.tag),
                ],
            )
        except BaseException:
            # Nothing has moved, or it broke off between two refs: then what was begun is brought to its end.
            await settle_release(context, project, repository, release)
            if repository.ref(SERVES) != written.tag:
                raise
        self._serve(serving)
        switched_ms = (time.perf_counter() - switch) * 1000

        async def index() -> None:
            async with context.store.writing() as connection:
                await index_release(connection, project, replace(release, state=State.DONE))
                await history.add(connection, written.numbered)
                if branch is not None and project.deploy_branch is None:
                    await projects.save(connection, replace(project, deploy_branch=branch.ref))

        await self._remember(project, index())
        return self._done(Activation(serving, before, written.live, written.numbered, switched_ms))

    async def _go_back(
        self,
        project: Project,
        repository: Repository,
        target: Serving,
        cause: Cause,
        others: Sequence[RefUpdate],
    ) -> Activation:
        context = self._context
        before = context.live.get(project.id)
        switch = time.perf_counter()
        async with context.store.reading() as connection:
            project = await _present(connection, project)
        target = await self._up_to_date(project, repository, target)
        entry = _entry(target, before, cause, context.clock())
        written = await asyncio.to_thread(_write_history, repository, entry, target.tag)
        try:
            await transaction(
                repository,
                [
                    RefUpdate(HISTORY, written.tip, written.entry),
                    *others,
                    RefUpdate(LIVE, written.live, target.record.commit),
                    RefUpdate(SERVES, written.serves, target.tag),
                ],
            )
        except BaseException:
            # Nothing has moved, or it broke off between two refs: then what was begun is taken back.
            await settle_going_back(project, repository)
            if repository.ref(SERVES) != target.tag or repository.ref(HISTORY) != written.entry:
                raise
        self._serve(target)
        switched_ms = (time.perf_counter() - switch) * 1000

        async def index() -> None:
            async with context.store.writing() as connection:
                await history.add(connection, written.numbered)

        await self._remember(project, index())
        return self._done(Activation(target, before, written.live, written.numbered, switched_ms))

    async def _up_to_date(self, project: Project, repository: Repository, serving: Serving) -> Serving:
        """The same with the names and secret values of now; raises Invalid naming a secret that has no value."""
        if serving.changes != self._context.changes[project.id]:
            serving = await load(self._context, project, repository, serving.record, serving.tag)
        serving.require_secrets()
        return serving

    async def _remember(self, project: Project, index: Coroutine[Any, Any, None]) -> None:
        """Brings the database up to date; the refs have moved, so a failure is the next start's to mend."""
        try:
            await index
        except Exception as error:  # noqa: BLE001
            self._context.report(f"the records of {project.name} are behind its refs until the next start", error)

    def _done(self, activation: Activation) -> Activation:
        self._went_live(activation)
        return activation

    def _serve(self, serving: Serving) -> None:
        self._context.live[serving.project.id] = serving
        self._context.publish(serving)
        self._context.pool.keep_project(serving.project.id, serving.applications.values())

    async def _live_moved(self, project: Project, current: Serving | None) -> ClowdyError:
        async with self._context.store.reading() as connection:
            await _present(connection, project)
            return LiveMoved(current, await history.last(connection, project.id))


async def _present(connection: AsyncConnection, project: Project) -> Project:
    """The project as it is now; raises Conflict when it is gone."""
    known = await projects.find(connection, project.id)
    if known is None:
        raise Conflict(f"project {project.name} was deleted meanwhile")
    return known


def _tag(serving: Serving | None) -> str | None:
    """What makes two values the same release: one that was loaded again, with another secret, is no other."""
    return serving.tag if serving is not None else None


def _entry(serving: Serving, before: Serving | None, cause: Cause, now: float) -> Entry:
    """What the history says of a switch; its place in it comes with `_write_history`."""
    return Entry(
        project_id=serving.project.id,
        sequence=0,
        release=serving.number,
        before=before.number if before else None,
        who=cause.who,
        how=cause.how,
        why=cause.why,
        at=now,
        duration_ms=(now - cause.started) * 1000,
        changes=", ".join(cause.plan.summary()),
    )


def release_message(record: ReleaseRecord, subject: str) -> str:
    """The message of `deploy/N`: a readable first line, and the record as its last."""
    return f"deploy/{record.number}: {subject}\n\n{record.how} by {record.who}\n\n{record.to_json()}\n"


@dataclass(frozen=True, slots=True)
class Written:
    """Objects on disk that no ref names yet, and what the refs that are to name them hold now."""

    tag: str
    entry: str
    numbered: Entry
    tip: str | None
    live: str | None
    serves: str | None
    locks: Kept | None = None


def _write_release(
    repository: Repository, record: ReleaseRecord, entry: Entry, files: Mapping[str, bytes]
) -> tuple[ReleaseRecord, Written]:
    subject = repository.commit(record.commit).subject
    drafts = repository.drafts()
    locks = keep(repository, files, float(record.when), drafts) if files else None
    if locks is not None:
        record = replace(record, locks=locks.commit)
    message = release_message(record, subject)
    tag = repository.write_tag(record.tag, record.commit, message, record.who, float(record.when), drafts)
    return record, replace(_write_history(repository, entry, tag, drafts), locks=locks)


def _write_history(repository: Repository, entry: Entry, tag: str, drafts: Drafts | None = None) -> Written:
    drafts = drafts or repository.drafts()
    tip = repository.ref(HISTORY)
    last = read_entry(repository, entry.project_id, tip)[0].sequence if tip else 0
    numbered = replace(entry, sequence=last + 1)
    written = write_entry(repository, numbered, tag, tip, drafts)
    drafts.write()
    return Written(tag, written, numbered, tip, repository.ref(LIVE), repository.ref(SERVES))


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
