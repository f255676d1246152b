"""Everything that changes what a project serves, behind one door: pushes, rollbacks, secrets, projects."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from clowdy.schema.text import printable
from clowdy.server.errors import ClowdyError, Conflict, Invalid, NotFound
from clowdy.server.git.maintenance import maintain, wants_maintenance
from clowdy.server.releases import notes, plans
from clowdy.server.releases.activate import Activation, Activator, Cause
from clowdy.server.releases.context import Context
from clowdy.server.releases.layers import bring, is_complete, requirements_text, sweep
from clowdy.server.releases.load import load
from clowdy.server.releases.log import PushLog
from clowdy.server.releases.projects import ProjectDesk, read_record
from clowdy.server.releases.pushes import PushDesk
from clowdy.server.releases.reconcile import Reconciled, rebuild, reconcile, reconcile_all, reconcile_or_report
from clowdy.server.releases.renew import renew
from clowdy.server.releases.serving import Serving
from clowdy.server.releases.targets import Target, target_of_text, what_served_before
from clowdy.server.releases.turns import Turns
from clowdy.server.releases.voice import Voice
from clowdy.server.releases.work import PushWork
from clowdy.server.store import projects, pushes
from clowdy.server.store.projects import Project
from clowdy.server.store.pushes import Push

log = logging.getLogger(__name__)

Result = TypeVar("Result")

SERVER = "clowdy"
NOTES_SECONDS = 2.0
NOTE_AFTER_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rollback did, with the lines that a pusher would have read."""

    release: int
    commit: str
    before: int | None
    lines: tuple[str, ...]


class Releases:
    """The facade that the web, the command line and the git endpoint use."""

    def __init__(self, context: Context, reserved: frozenset[str]) -> None:
        self._context = context
        self._turns = Turns()
        self._activator = Activator(context, self._went_live)
        self._background: set[asyncio.Task[Any]] = set()
        self._noting: defaultdict[str, set[asyncio.Task[None]]] = defaultdict(set)
        self._wanted: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.projects = ProjectDesk(
            context, reserved, self._activator.exclusive, lambda project_id, why: self.pushes.end(project_id, why)
        )
        self.pushes = PushDesk(context, self.projects, partial(PushWork, context, self._activator, self._turns))

    async def start(self) -> list[Reconciled]:
        """Loads what serves; what was interrupted is finished or undone before anything listens."""
        async with self._context.store.writing() as connection:
            await pushes.interrupt_running(connection)
        results = await reconcile_all(self._context)
        for result in results:
            if result.ahead is not None:
                self._later(self._catch_up(result.project, result.ahead))
        self._later(self._bring_back(list(self._context.live)))
        return results

    async def renew(self) -> list[str]:
        """Prepares what serves for another driver or Python; a line for each version that does not start there."""
        return await self._later(renew(self._context))

    async def bring_back(self) -> None:
        """Installs what serves and is gone, or could not be looked for while nothing could run."""
        await self._later(self._bring_back(list(self._context.live)))

    async def stop(self) -> None:
        """Ends pushes as `PushDesk.stop` says, and waits for what runs in the background."""
        await self.pushes.stop()
        for wanted in self._wanted.values():
            wanted.set()
        if self._background:
            _, late = await asyncio.wait(self._background, timeout=5)
            for task in late:
                task.cancel()

    async def noted(self, project_id: str) -> None:
        """Returns when the notes of what went live so far are written: who fetches after a push finds them."""
        if tasks := self._noting.get(project_id):
            self._wanted[project_id].set()
            await asyncio.wait(tuple(tasks), timeout=NOTES_SECONDS)

    def live(self, project_id: str) -> Serving | None:
        """What serves a project."""
        return self._context.live.get(project_id)

    async def requirements(self, project_id: str) -> str:
        """What the live release wants installed, one requirement a line: as it is written, or as its lock has it."""
        serving = self._context.live.get(project_id)
        if serving is None:
            return ""
        return await asyncio.to_thread(requirements_text, self._context.repositories.open(project_id), serving)

    async def rollback(self, project: Project, to: str | None, who: str, why: str = "") -> Outcome:
        """Serves an earlier release; without `to` the one that served before. Raises Invalid or Conflict."""
        context = self._context
        started = context.clock()
        repository = context.repositories.open(project.id)
        before = context.live.get(project.id)
        if to is None:
            release = await what_served_before(context, project.id)
            target = Target(release.commit, release)
        else:
            target = await target_of_text(context, project.id, repository, to)
        if target.release is None:
            raise Invalid(f"{target.commit[:7]} was never live: git push clowdy {target.commit[:7]}:live deploys it")
        serving = await load(context, project, repository, target.release.record, target.release.tag or "")
        if before is not None and before.number == serving.number:
            line = f"deploy/{serving.number} serves already: nothing to change"
            return Outcome(serving.number, serving.record.commit, before.number, (line,))
        serving.require_secrets()
        log = PushLog()
        voice = Voice(log, as_json=False, redact=lambda text: context.redact(project.id, text))
        plan = await plans.rollback_plan(context, repository, before, serving)
        voice.plan(plan)
        serving = await bring(context, repository, serving, voice.progress)
        cause = Cause(who, "rollback", started, plan, printable(why, 200))
        activation = await self._activator.go_back(project, repository, serving, cause, expected=before)
        voice.switched(activation.switched(), context.urls(project), context.clock() - started)
        voice.end("", None, ok=True)
        return Outcome(
            serving.number,
            serving.record.commit,
            before.number if before else None,
            tuple(log.text().splitlines()),
        )

    async def cancel(self, project: Project, push_id: str | None, who: str) -> Push:
        """Stops the running push of a project, or the one named."""
        return await self.pushes.cancel(project, push_id, who)

    def declared_secrets(self, project_id: str) -> frozenset[str]:
        """The secrets that the live release declares."""
        serving = self._context.live.get(project_id)
        return serving.manifest.secret_names if serving else frozenset()

    async def secret_changed(self, project: Project, name: str, who: str) -> int:
        """Replaces the instances that have the old value; returns how many there were.

        No release is made: running calls finish with the old value, the next ones get the new.
        """
        context = self._context
        now = context.clock()
        if name not in self.declared_secrets(project.id):
            # What is being built may declare it: it then reads the value again.
            context.changes[project.id] += 1
            return 0
        reloaded = await self._activator.reload(project.id)
        if reloaded is None:
            return 0
        before, serving = reloaded
        new_keys = {application.key for application in serving.applications.values()}
        replaced = await context.pool.retire(
            application.key for application in before.applications.values() if application.key not in new_keys
        )
        self._note(project, notes.note_secret(context, project, serving.record.commit, name, who, now))
        return replaced

    async def renamed(self, project: Project) -> None:
        """A project has other names now: what serves it learns them."""
        await self._activator.reload(project.id)

    async def restored(self, project: Project) -> None:
        """A project came back: what served it serves again."""
        async with self._activator.exclusive(project.id):
            await reconcile(self._context, project)
        self._later(self._bring_back([project.id]))

    async def rebuild(self, ref: str | None = None) -> list[str]:
        """The records of every project, or of one, anew from git alone; then serves what they say."""
        wanted = self._context.repositories.every()
        if ref is not None:
            wanted = [project_id for project_id in wanted if await self._is_called(project_id, ref)]
            if not wanted:
                raise NotFound("Project not found")
        lines = []
        for project_id in wanted:
            async with self._activator.exclusive(project_id):
                lines.append(await rebuild(self._context, project_id))
                async with self._context.store.reading() as connection:
                    project = await projects.find(connection, project_id)
                if project is not None:
                    await reconcile_or_report(self._context, project)
        self._later(self._bring_back(wanted))
        return lines

    async def _is_called(self, project_id: str, ref: str) -> bool:
        """Whether the repository, which may have no row yet, is of the project that `ref` means."""
        try:
            repository = self._context.repositories.open(project_id)
            project = read_record(repository, None)
        except (ClowdyError, ValueError):
            return False
        return ref in (project.id, project.name)

    async def maintain(self) -> None:
        """Nightly, for each project in its turn: repack and prune; removes what was deleted 30 days ago."""
        async with self._context.store.reading() as connection:
            every = await projects.every(connection)
        for project in every:
            await self._maintain(project)
        await self.projects.purge()
        for digest in await sweep(self._context):
            log.info("requirements layer %s removed: no release needs it any more", digest[:12])

    async def _bring_back(self, project_ids: Sequence[str]) -> None:
        """Installs what serves and is gone from this machine: calls of it are told until then that it is not there."""
        context = self._context
        if context.pool.unavailable is not None:
            # For which Python is not known; nor is there any hurry.
            return
        for project_id in project_ids:
            serving = context.live.get(project_id)
            if serving is None or serving.record.lock is None:
                continue
            name = serving.project.name
            try:
                repository = context.repositories.open(project_id)
                if await asyncio.to_thread(is_complete, context, repository, serving):
                    continue
                await bring(context, repository, serving, partial(log.info, "%s: %s", name))
                await self._activator.reload(project_id)
            except ClowdyError as error:
                context.report(f"deploy/{serving.number} of {name} serves without its requirements", error)

    async def _maintain(self, project: Project) -> None:
        async with self._turns.turn(project.id, "maintenance", _silently):
            try:
                await maintain(self._context.repositories.open(project.id))
            except ClowdyError as error:
                self._context.report(f"maintenance of {project.name}", error)

    async def _maintain_if_due(self, project: Project) -> None:
        """A day of many pushes leaves more than a night should have to put away."""
        await asyncio.sleep(NOTE_AFTER_SECONDS)
        if await asyncio.to_thread(wants_maintenance, self._context.repositories.open(project.id)):
            await self._maintain(project)

    def _went_live(self, activation: Activation) -> None:
        project, commit = activation.serving.project, activation.serving.record.commit
        self._note(project, self._write_note(project, commit))
        if activation.entry.how != "rollback":
            self._later(self._maintain_if_due(project))

    async def _write_note(self, project: Project, commit: str) -> None:
        # Whoever pushed waits for the answer first, unless somebody waits for the note.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(NOTE_AFTER_SECONDS):
                await self._wanted[project.id].wait()
        await notes.write_note(self._context, project, commit)

    async def _catch_up(self, project: Project, commit: str) -> None:
        """A deploy branch ahead of its releases is deployed as its push would have been."""
        repository = self._context.repositories.open(project.id)
        ticket = self.pushes.open(SERVER, repository, project, None)
        try:
            await self.pushes.deploy_again(ticket, commit)
        except (ClowdyError, Conflict) as error:
            self._context.report(f"{project.name} has {commit[:7]} without a release", error)
        finally:
            await self.pushes.close(ticket)

    def _note(self, project: Project, work: Coroutine[Any, Any, None]) -> None:
        task = self._later(work)
        self._noting[project.id].add(task)
        task.add_done_callback(partial(self._noted, project.id))

    def _noted(self, project_id: str, task: asyncio.Task[None]) -> None:
        self._noting[project_id].discard(task)
        if not self._noting[project_id]:
            del self._noting[project_id]
            self._wanted.pop(project_id, None)

    def _later(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._context.report("background work of releases", error)


async def _silently(_: str) -> None:
    """Maintenance waits without telling anyone."""
