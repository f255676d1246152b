"""Pushes: who follows which, their records, and how one is stopped. What a push does is in `work`.

The work belongs to the server, not to the connection: once the pack is in, a push runs to its end whether or not
anyone listens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from clowdy.hooks.report import Reporter, short_reason
from clowdy.schema.parse import FILE
from clowdy.schema.problems import Problem
from clowdy.server.errors import Invalid, NotFound
from clowdy.server.git.hook_messages import PreReceive, ProcReceive, Verdict
from clowdy.server.git.hooks import Say
from clowdy.server.git.quarantine import judge as judge_quarantine
from clowdy.server.git.refnames import NULL
from clowdy.server.git.repos import Repository
from clowdy.server.ids import new_id
from clowdy.server.releases.commands import LIVE, Options, parse_options, short
from clowdy.server.releases.context import Context
from clowdy.server.releases.log import PushLog
from clowdy.server.releases.projects import Pending, ProjectDesk
from clowdy.server.releases.voice import Voice, dropped
from clowdy.server.releases.work import PushWork, Result
from clowdy.server.store import pushes as rows
from clowdy.server.store.projects import Project
from clowdy.server.store.pushes import State

LIMIT_SECONDS = 30 * 60
STOPPING = "the server is stopping: push again"
CANCELLED = "cancelled"

Refs = Sequence[tuple[str, str, str]]


@dataclass(slots=True)
class Ticket:
    """One receive-pack under way. `id` is known to it and to its hooks alone."""

    id: str
    who: str
    repository: Repository
    project: Project | None
    pending: Pending | None
    reported: bool = False


@dataclass(slots=True)
class Push:
    """One push at work, or just ended."""

    row: rows.Push
    key: tuple[object, ...]
    options: Options
    log: PushLog
    started: float
    work: PushWork
    task: asyncio.Task[Result] = field(init=False)
    stopping: str = ""
    verdicts: list[Verdict] = field(default_factory=list)


class PushDesk:
    """Takes what the hooks report and answers for each ref."""

    def __init__(
        self,
        context: Context,
        projects: ProjectDesk,
        work: Callable[..., PushWork],
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        self._limit_seconds = limit_seconds
        self._context = context
        self._projects = projects
        self._work = work
        self._tickets: dict[str, Ticket] = {}
        self._running: dict[tuple[object, ...], Push] = {}
        self._stopping = False

    def open(self, who: str, repository: Repository, project: Project | None, pending: Pending | None) -> str:
        """The id that receive-pack gets in its environment; `close` forgets it."""
        ticket = Ticket(new_id() + new_id(), who, repository, project, pending)
        self._tickets[ticket.id] = ticket
        return ticket.id

    async def close(self, push_id: str) -> None:
        """Receive-pack has ended; a project that its push did not make is forgotten."""
        ticket = self._tickets.pop(push_id, None)
        if ticket is not None and ticket.pending is not None:
            await self._projects.abandon(ticket.pending)

    async def pre_receive(self, call: PreReceive, say: Say) -> bool:
        """Whether what lies in quarantine may enter; says why not."""
        ticket = self._tickets.get(call.push_id)
        if ticket is None:
            await say("this push is not known to the server: push again")
            return False
        reasons = await asyncio.to_thread(judge_quarantine, ticket.repository, call)
        problems = [Problem(FILE, 1, 1, "push", reason) for reason in reasons]
        if problems and ticket.project is not None:
            refused = self._new(ticket.project, ticket, call.refs, ("format=json",) if call.json else ())
            await self._turn_away(refused, problems, short_reason(problems), say)
        elif problems:
            for line in Reporter(as_json=call.json).problems(problems, None):
                await say(line)
        ticket.reported = not reasons
        return ticket.reported

    async def proc_receive(self, call: ProcReceive, say: Say) -> list[Verdict]:
        """The verdict of every ref, in the order received."""
        ticket = self._tickets.get(call.push_id)
        if ticket is None or not ticket.reported:
            return _refuse(call.refs, "the server does not know this push: push again")
        if self._stopping:
            return _refuse(call.refs, STOPPING)
        made = False
        if ticket.pending is not None and ticket.project is None:
            ticket.project, made = await self._projects.settle(ticket.pending)
        assert ticket.project is not None
        project = await self._projects.find(ticket.project.id)
        options = parse_options(call.options)
        if isinstance(options, str):
            await self._turn_away(self._new(project, ticket, call.refs, call.options), (), options, say)
            return _refuse(call.refs, options)
        key = (project.id, frozenset((ref, new) for _, new, ref in call.refs), frozenset(call.options), call.atomic)
        running = self._running.get(key)
        if running is not None:
            return await self._follow(running, call, say)
        push = self._start(project, ticket, call, options, key, made=made)
        async for line in push.log.follow():
            await say(line)
        return push.verdicts

    async def deploy_again(self, push_id: str, commit: str) -> list[Verdict]:
        """Deploys what the branch holds already, as a push of it to `live`: a repository was restored by hand."""
        ticket = self._tickets[push_id]
        ticket.reported = True
        refs = ((NULL, commit, LIVE),)
        call = ProcReceive(push_id=push_id, cwd=str(ticket.repository.path), refs=refs, options=(), atomic=False)
        return await self.proc_receive(call, _unheard)

    def running(self, project_id: str) -> list[Push]:
        """The pushes of a project that are at work."""
        return [push for push in self._running.values() if push.row.project_id == project_id]

    async def cancel(self, project: Project, push_id: str | None, who: str) -> rows.Push:
        """Stops a push before its ref transaction; raises NotFound when none runs, Invalid when it is too late."""
        found = [push for push in self.running(project.id) if push_id is None or push.row.id == push_id]
        if not found:
            raise NotFound("no push is running in this project" if push_id is None else "that push is not running")
        push = found[0]
        self._stop(push, f"{CANCELLED} by {who}")
        await asyncio.wait([push.task])
        if push.row.state is not State.CANCELLED:
            raise Invalid("too late: its refs were moving already")
        return push.row

    async def stop(self) -> None:
        """Refuses what has not begun its ref transaction and waits for the rest."""
        self._stopping = True
        at_work = list(self._running.values())
        for push in at_work:
            self._stop(push, STOPPING)
        if at_work:
            await asyncio.wait([push.task for push in at_work])

    def _stop(self, push: Push, reason: str) -> None:
        if not push.task.done() and not push.stopping:
            push.stopping = reason
            push.task.cancel()

    async def end(self, project_id: str, reason: str) -> None:
        """Stops every push of a project that has not begun its ref transaction, and waits for all of them."""
        at_work = self.running(project_id)
        for push in at_work:
            self._stop(push, reason)
        if at_work:
            await asyncio.wait([push.task for push in at_work])

    def _new(
        self, project: Project, ticket: Ticket, refs: Refs, options: Sequence[str], *, at: float | None = None
    ) -> rows.Push:
        return rows.Push(
            id=new_id(),
            project_id=project.id,
            project=project.name,
            who=ticket.who,
            refs=tuple(refs),
            options=tuple(options),
            state=State.RUNNING,
            reason="",
            release=None,
            started_at=self._context.clock() if at is None else at,
            ended_at=None,
            output="",
        )

    async def _turn_away(self, row: rows.Push, problems: Sequence[Problem], reason: str, say: Say) -> None:
        """Tells and keeps why a push was refused before any work."""
        as_json = "format=json" in row.options
        log = PushLog()
        voice = Voice(log, as_json=as_json, redact=lambda text: self._context.redact(row.project_id, text))
        serving = self._context.live.get(row.project_id)
        live = serving.number if serving else None
        if problems:
            voice.problems(problems, live)
        else:
            voice.refused(reason, live)
        voice.end("", None, ok=False)
        log.close()
        async for line in log.follow():
            await say(line)
        ended = replace(
            row,
            state=State.REFUSED,
            reason=reason,
            ended_at=self._context.clock(),
            output=log.text(),
        )
        async with self._context.store.writing() as connection:
            await rows.add(connection, ended)

    def _start(
        self,
        project: Project,
        ticket: Ticket,
        call: ProcReceive,
        options: Options,
        key: tuple[object, ...],
        *,
        made: bool,
    ) -> Push:
        now = self._context.clock()
        row = self._new(project, ticket, call.refs, call.options, at=now)
        log = PushLog(dropped(as_json=options.json))
        voice = Voice(log, as_json=options.json, redact=lambda text: self._context.redact(project.id, text))
        if made:
            voice.progress(f"created project {project.name}")
        work = self._work(project, ticket.repository, ticket.who, call.refs, options, call.atomic, voice, now)
        push = Push(row, key, options, log, now, work)
        self._running[key] = push
        push.task = asyncio.get_running_loop().create_task(self._run(push), name=f"push {row.id}")
        return push

    async def _run(self, push: Push) -> Result:
        limit = asyncio.timeout(self._limit_seconds)
        try:
            async with limit:
                async with self._context.store.writing() as connection:
                    await rows.add(connection, push.row)
                result = await push.work.run()
        except asyncio.CancelledError:
            reason = push.stopping or STOPPING
            result = push.work.refused(reason)
            if reason.startswith(CANCELLED):
                result = replace(result, state=State.CANCELLED)
        except Exception as error:  # noqa: BLE001
            if limit.expired():
                result = push.work.refused(f"stopped after {self._limit_seconds / 60:.0f} minutes")
            else:
                # A fault of ours must end as a refusal with a reason: git would only say that the hook died.
                self._context.report(f"push {push.row.id} of {push.row.project}", error)
                result = push.work.refused("the server failed: see its log, nothing was deployed")
        push.verdicts = result.verdicts
        push.row = replace(
            push.row,
            state=result.state,
            reason=result.reason,
            release=result.release,
            ended_at=self._context.clock(),
            output=push.log.text(),
        )
        try:
            async with self._context.store.writing() as connection:
                await rows.save(connection, push.row)
        except Exception as error:  # noqa: BLE001
            self._context.report(f"the record of push {push.row.id}", error)
        finally:
            if self._running.get(push.key) is push:
                del self._running[push.key]
            push.log.close()
        return result

    async def _follow(self, push: Push, call: ProcReceive, say: Say) -> list[Verdict]:
        seconds = self._context.clock() - push.started
        subject = next((new[:7] for _, new, _ in call.refs), "")
        reporter = Reporter(as_json=push.options.json)
        for line in reporter.progress(f"push of {subject} is running ({seconds:.0f} s), following"):
            await say(line)
        held: str | None = None
        async for line in push.log.follow():
            if held is not None:
                await say(held)
            held = line
        if any(verdict.accepted for verdict in push.verdicts):
            text = "already live: finished while you waited" if push.row.release else "finished while you waited"
            for line in reporter.progress(text):
                await say(line)
        if held is not None:
            await say(held)
        return push.verdicts


def _refuse(refs: Refs, reason: str) -> list[Verdict]:
    return [Verdict(ref, accepted=False, reason=reason) for _, _, ref in refs]


async def _unheard(_: str) -> None:
    """Nobody listens; the record keeps the output."""


def describe(push: rows.Push) -> str:
    """A push in a few words: `main to 9c1f2aa`."""
    return ", ".join(f"{short(ref)} to {new[:7]}" for _, new, ref in push.refs)
