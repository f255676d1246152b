"""What one push does: a verdict for each of its refs, and a release when one of them is to serve."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace

from clowdy.hooks.report import PLAN_ONLY, counted, short_reason
from clowdy.schema.problems import Problem
from clowdy.schema.release import ReleaseRecord
from clowdy.server.errors import ClowdyError, Conflict, Invalid, Refused
from clowdy.server.git.hook_messages import Move, Verdict
from clowdy.server.git.refnames import NULL
from clowdy.server.git.refs import Moved, RefUpdate, transaction
from clowdy.server.git.repos import Repository
from clowdy.server.releases import plans
from clowdy.server.releases.activate import Activation, Activator, BranchMove, Cause, uninterrupted
from clowdy.server.releases.commands import (
    LIVE,
    RELEASE_TAGS,
    TAGS,
    Command,
    Options,
    Wish,
    classify,
    deploy_branches_of,
    short,
)
from clowdy.server.releases.context import Context
from clowdy.server.releases.layers import bring
from clowdy.server.releases.load import load
from clowdy.server.releases.prepare import Candidate, building, judge_commit, prepare
from clowdy.server.releases.serving import Serving
from clowdy.server.releases.targets import Target, target_of_object
from clowdy.server.releases.trial import run_checks, try_candidate
from clowdy.server.releases.turns import Turns
from clowdy.server.releases.voice import Voice
from clowdy.server.store import projects, releases
from clowdy.server.store.projects import Project
from clowdy.server.store.pushes import State
from clowdy.server.store.releases import Release

STORED = "stored: nothing that serves has changed"
MOST_LOOKED_AT = 20
"""How many commits of one push are judged that are only stored: a mirror may bring thousands of tags."""

ATOMIC = "atomic push: another ref was refused"


@dataclass(frozen=True, slots=True)
class Result:
    """How a push ended."""

    state: State
    verdicts: list[Verdict]
    reason: str = ""
    release: int | None = None


class PlanOnly(Exception):
    """The push wanted a plan, and has said it."""


class PushWork:
    """One push at work."""

    def __init__(
        self,
        context: Context,
        activator: Activator,
        turns: Turns,
        project: Project,
        repository: Repository,
        who: str,
        refs: Sequence[tuple[str, str, str]],
        options: Options,
        atomic: bool,
        voice: Voice,
        started: float,
    ) -> None:
        self._context = context
        self._activator = activator
        self._turns = turns
        self._project = project
        self._repository = repository
        self._who = who
        self._refs = refs
        self._options = options
        self._atomic = atomic
        self._voice = voice
        self._started = started
        self._verdicts: dict[str, Verdict] = {}
        self._release: int | None = None
        self._nothing_to_do = ""
        self._looked_at: set[str] = set()

    async def run(self) -> Result:
        """Judges every ref, moves what may move, and says how it ended."""
        candidates = [self._project.deploy_branch] if self._project.deploy_branch else deploy_branches_of(self._refs)
        commands = classify(self._refs, next(iter(candidates), None), self._same_commit)
        if self._atomic:
            await self._run_atomic(commands)
            return self._result()
        for command in commands:
            if command.wish is Wish.REFUSED:
                self._refuse(command, command.reason)
            elif command.wish in (Wish.STORE, Wish.DELETE) and command.ref not in candidates:
                await self._store_one(command)
        await self._go_live(commands, [])
        for command in commands:
            if command.wish is Wish.STORE and command.ref in candidates:
                await self._next_branch(command, candidates)
        return self._result()

    async def _next_branch(self, command: Command, candidates: Sequence[str]) -> None:
        """One more branch of a first push: it serves if those before it were refused, else it is stored."""
        before = [self._verdicts[ref] for ref in candidates[: candidates.index(command.ref)]]
        if any(verdict.accepted or verdict.reason == PLAN_ONLY for verdict in before):
            await self._store_one(command)
        else:
            await self._go_live([replace(command, wish=Wish.DEPLOY)], [])

    def refused(self, reason: str) -> Result:
        """The result when the work was cut off: whatever has no verdict yet is refused."""
        # What is live already cannot be called refused, whatever went wrong after: these refs have moved.
        moved = self._release is not None
        if not moved:
            self._voice.refused(reason, self._stays())
        for _, _, ref in self._refs:
            self._verdicts.setdefault(ref, Verdict(ref, accepted=moved, reason="" if moved else reason))
        result = self._result()
        return result if moved else replace(result, state=State.REFUSED, reason=reason)

    def _result(self) -> Result:
        verdicts = [self._verdicts[ref] for _, _, ref in self._refs]
        refusals = [verdict.reason for verdict in verdicts if not verdict.accepted]
        if self._release is not None:
            state = State.LIVE
        elif refusals:
            state = State.PLANNED if set(refusals) == {PLAN_ONLY} else State.REFUSED
        else:
            state = State.STORED
        text = refusals[0] if refusals else self._nothing_to_do or STORED
        self._voice.end(text, self._stays(), ok=not refusals)
        return Result(state, verdicts, refusals[0] if refusals else "", self._release)

    def _same_commit(self, one: str, other: str) -> bool:
        return self._repository.peel(one).commit == self._repository.peel(other).commit

    # Refs that serve nothing

    async def _store_one(self, command: Command) -> None:
        if self._options.plan:
            self._refuse(command, PLAN_ONLY)
            return
        try:
            await uninterrupted(transaction(self._repository, [_update(command)]))
        except Moved:
            self._refuse(command, f"fetch first: {short(command.ref)} moved meanwhile")
        except ClowdyError as error:
            self._refuse(command, error.message)
        else:
            self._accept(command)
            await self._warn(command)

    async def _warn(self, command: Command) -> None:
        """Problems of a branch or tag that is only stored are worth a word, never a refusal."""
        commit = None if command.deletes else self._repository.peel(command.new).commit
        pushed = {new for _, new, ref in self._refs if ref != command.ref and not ref.startswith(TAGS)}
        if commit is None or commit in pushed or commit in self._looked_at or len(self._looked_at) >= MOST_LOOKED_AT:
            return
        self._looked_at.add(commit)
        try:
            _, judgement = await judge_commit(
                self._context, self._project, self._repository, commit, with_secrets=False
            )
        except ClowdyError as error:
            self._voice.progress(f"{short(command.ref)} is stored; its clowdy.yaml was not checked: {error.message}")
            return
        self._voice.warnings(short(command.ref), judgement.problems)

    # Refs that decide what serves

    async def _run_atomic(self, commands: Sequence[Command]) -> None:
        refused = [command for command in commands if command.wish is Wish.REFUSED]
        others = [command for command in commands if command.wish in (Wish.STORE, Wish.DELETE)]
        if refused or (self._options.plan and not self._serving_commands(commands)):
            for command in commands:
                self._refuse(command, command.reason if command in refused else ATOMIC if refused else PLAN_ONLY)
            return
        if self._serving_commands(commands):
            await self._go_live(commands, [_update(command) for command in others])
        else:
            try:
                await uninterrupted(transaction(self._repository, [_update(command) for command in others]))
            except ClowdyError as error:
                for command in others:
                    self._refuse(command, error.message)
                return
        failed = any(not verdict.accepted for verdict in self._verdicts.values())
        for command in others:
            if failed:
                self._refuse(command, PLAN_ONLY if self._options.plan else ATOMIC)
            else:
                self._accept(command)
                await self._warn(command)

    def _serving_commands(self, commands: Sequence[Command]) -> list[Command]:
        return [command for command in commands if command.wish in (Wish.DEPLOY, Wish.LIVE)]

    async def _go_live(self, commands: Sequence[Command], others: list[RefUpdate]) -> None:
        serving = self._serving_commands(commands)
        if not serving:
            return
        deploy = next((command for command in serving if command.wish is Wish.DEPLOY), None)
        live = next((command for command in serving if command.wish is Wish.LIVE), None)
        try:
            if deploy is not None:
                await self._deploy_branch(deploy, live, others)
            elif live is not None:
                await self._move_live(live, others)
        except Refused as refused:
            self._voice.problems(refused.problems, self._stays())
            self._refuse_all(serving, short_reason(refused.problems) if refused.problems else refused.message)
        except PlanOnly:
            self._voice.planned()
            self._refuse_all(serving, PLAN_ONLY)
        except ClowdyError as error:
            self._voice.refused(error.message, self._stays())
            self._refuse_all(serving, error.message)

    async def _deploy_branch(self, deploy: Command, live: Command | None, others: list[RefUpdate]) -> None:
        async with self._turn() as waited_for:
            await self._refuse_other_branches(deploy)
            present = self._repository.ref(deploy.ref)
            old = None if deploy.old == NULL else deploy.old
            if present != old:
                if present == deploy.new and self._serves(deploy.new):
                    await self._move_others(others)
                    self._do_nothing("already live: finished while you waited")
                    for command in (deploy, live):
                        if command is not None:
                            self._accept(command)
                    return
                if present is None or not await asyncio.to_thread(self._repository.is_ancestor, present, deploy.new):
                    whom = f" while you waited for {waited_for}" if waited_for else " meanwhile"
                    raise Conflict(f"fetch first: {short(deploy.ref)} moved{whom}")
            self._refuse_what_is_no_commit(deploy)
            activation = await self._deploy(deploy.new, BranchMove(deploy.ref, present), others)
        moves = [
            Move(deploy.ref, present or NULL, deploy.new, forced=await self._is_forced(present, deploy.new)),
            await self._live_move(activation),
            _tag_move(activation),
        ]
        if live is None:
            self._accept(deploy, moves)
        else:
            self._accept(deploy, [moves[0], moves[2]])
            self._accept(live, [moves[1]])

    async def _move_live(self, live: Command, others: list[RefUpdate]) -> None:
        target = await target_of_object(self._context, self._project.id, self._repository, live.new)
        if target.release is not None and not self._options.upgrade:
            again = await self._serve_again(target, target.release, others)
            there = Move(LIVE, target.commit, target.commit, forced=False)
            self._accept(live, [await self._live_move(again) if again else there])
            return
        async with self._turn():
            activation = await self._deploy(target.commit, None, others)
        self._accept(live, [await self._live_move(activation), _tag_move(activation)])

    async def _serve_again(self, target: Target, release: Release, others: list[RefUpdate]) -> Activation | None:
        before = self._context.live.get(self._project.id)
        serving = await load(self._context, self._project, self._repository, release.record, release.tag or "")
        serving.require_secrets()
        if before is not None and before.number == serving.number and not self._options.redeploy:
            self._do_nothing(f"deploy/{serving.number} serves already: nothing to change")
            if self._options.plan:
                raise PlanOnly
            await self._move_others(others)
            return None
        plan = await plans.rollback_plan(
            self._context, self._repository, before, serving, restarts=self._options.redeploy
        )
        self._voice.plan(plan)
        if self._options.plan:
            raise PlanOnly
        serving = await bring(self._context, self._repository, serving, self._voice.progress)
        if self._options.redeploy:
            await self._start_again(serving)
        cause = Cause(self._who, _how(before, serving, redeploy=self._options.redeploy), self._started, plan)
        activation = await self._activator.go_back(self._project, self._repository, serving, cause, others=others)
        self._release = serving.number
        self._voice_switched(activation)
        return activation

    async def _deploy(self, commit: str, branch: BranchMove | None, others: list[RefUpdate]) -> Activation:
        context = self._context
        before = context.live.get(self._project.id)
        candidate = await prepare(
            context,
            self._project,
            self._repository,
            commit,
            live=before.record.lock if before is not None else None,
            upgrade=self._options.upgrade,
            say=self._voice.progress,
        )
        plan = await plans.deploy_plan(
            context, self._project, self._repository, before, candidate, restarts=self._options.redeploy
        )
        self._voice.plan(plan)
        if self._options.plan:
            raise PlanOnly
        if self._options.redeploy:
            await context.pool.retire(application.key for application in candidate.applications.values())
        if candidate.locked is not None:
            async with building(candidate.judgement):
                await context.requirements.build(candidate.locked.lock, self._voice.progress)
        await self._try(candidate, before, all_of_it=self._options.redeploy)
        how = f"push to {short(branch.ref) if branch else 'live'}"
        activation = await self._activator.deploy(
            self._project,
            self._repository,
            candidate,
            Cause(self._who, how, self._started, plan),
            expected=before,
            branch=branch,
            others=others,
        )
        self._release = activation.serving.number
        self._voice_switched(activation)
        return activation

    async def _try(self, candidate: Candidate, before: Serving | None, *, all_of_it: bool) -> None:
        names = frozenset(candidate.versions) if all_of_it else candidate.fresh
        problems: list[Problem] = []
        if names:
            self._voice.progress(f"starting {counted(len(names), 'new version')}")
            problems = await try_candidate(self._context, candidate, names, self._voice)
        if not problems and candidate.manifest.checks:
            async with self._context.store.reading() as connection:
                number = await releases.last_number(connection, self._project.id) + 1
            record = ReleaseRecord(
                number=number,
                commit=candidate.commit,
                functions=candidate.versions,
                previous=before.number if before else None,
                who=self._who,
                how="check",
                when=int(self._started),
            )
            problems = await run_checks(self._context, self._project, candidate, record, self._voice)
        if problems:
            raise Refused("the new version does not start", problems)

    async def _start_again(self, serving: Serving) -> None:
        await self._context.pool.retire(application.key for application in serving.applications.values())
        self._voice.progress(f"starting {counted(len(serving.applications), 'function')} again")

    async def _move_others(self, others: list[RefUpdate]) -> None:
        """The other refs of an atomic push whose serving ref has nothing to do."""
        if others:
            await uninterrupted(transaction(self._repository, others))

    def _turn(self) -> AbstractAsyncContextManager[str | None]:
        """The project's turn to build; a plan builds nothing and waits for nobody."""
        if self._options.plan:
            return nullcontext()
        return self._turns.turn(self._project.id, self._who, self._waiting)

    async def _refuse_other_branches(self, deploy: Command) -> None:
        """Two first pushes can each bring a branch; the one whose turn came first has chosen."""
        if self._project.deploy_branch is not None:
            return
        async with self._context.store.reading() as connection:
            known = await projects.find(connection, self._project.id)
        if known is not None and known.deploy_branch not in (None, deploy.ref):
            raise Conflict(f"{short(known.deploy_branch or '')} became the deploy branch meanwhile: push again")

    # Words

    def _do_nothing(self, why: str) -> None:
        self._voice.progress(why)
        self._nothing_to_do = why

    async def _waiting(self, whom: str) -> None:
        self._voice.progress(f"waiting for {whom}: another push of this project is at work")

    def _voice_switched(self, activation: Activation) -> None:
        seconds = self._context.clock() - self._started
        self._voice.switched(activation.switched(), self._context.urls(self._project), seconds)

    def _stays(self) -> int | None:
        serving = self._context.live.get(self._project.id)
        return serving.number if serving else None

    def _serves(self, commit: str) -> bool:
        serving = self._context.live.get(self._project.id)
        return serving is not None and serving.record.commit == commit

    async def _is_forced(self, old: str | None, new: str) -> bool:
        if old is None or old == new:
            return False
        try:
            return not await asyncio.to_thread(self._repository.is_ancestor, old, new)
        except ClowdyError:
            # Only a word in git's table, about what has happened already.
            return True

    async def _live_move(self, activation: Activation) -> Move:
        new = activation.serving.record.commit
        return Move(LIVE, activation.live_before or NULL, new, await self._is_forced(activation.live_before, new))

    def _refuse_what_is_no_commit(self, command: Command) -> None:
        commit = self._repository.peel(command.new).commit
        if commit is None:
            raise Invalid(f"{short(command.ref)} takes a commit, and this leads to none")
        if commit != command.new:
            raise Invalid(f"{short(command.ref)} takes a commit, not a tag")

    def _refuse_all(self, commands: Sequence[Command], reason: str) -> None:
        for command in commands:
            self._refuse(command, reason)

    def _refuse(self, command: Command, reason: str) -> None:
        # git shows it, and the record of the push keeps it: no less public than what was said above it.
        reason = self._context.redact(self._project.id, reason)
        self._verdicts[command.ref] = Verdict(command.ref, accepted=False, reason=reason)

    def _accept(self, command: Command, moves: Sequence[Move] = ()) -> None:
        self._verdicts[command.ref] = Verdict(command.ref, accepted=True, moves=tuple(moves))


def _how(before: Serving | None, after: Serving, *, redeploy: bool) -> str:
    if redeploy:
        return "redeploy"
    if before is not None and before.number < after.number:
        return "push to live"
    return "rollback"


def _tag_move(activation: Activation) -> Move:
    # Not the tag's own object, which the client has not: one that keeps track of this remote's tags could not write it.
    return Move(f"{RELEASE_TAGS}{activation.serving.number}", NULL, activation.serving.record.commit, forced=False)


def _update(command: Command) -> RefUpdate:
    return RefUpdate(
        command.ref,
        None if command.old == NULL else command.old,
        None if command.new == NULL else command.new,
    )
