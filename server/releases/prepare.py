"""From a commit to a candidate: judged and numbered. Nothing starts and nothing moves here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

from clowdy.hooks.check import Judgement, Settings, judge
from clowdy.hooks.syntax import SyntaxUnavailable
from clowdy.runtimes.api import Application, Code, DriverUnavailable
from clowdy.runtimes.layers.api import BuildFailed, Say
from clowdy.schema.manifest import FunctionSpec, Manifest
from clowdy.schema.release import FunctionVersion, version_digest
from clowdy.schema.text import printable
from clowdy.server.errors import Refused, Unavailable
from clowdy.server.git.repos import Repository
from clowdy.server.git.trees import GitTree
from clowdy.server.ids import new_id
from clowdy.server.releases.context import Context
from clowdy.server.releases.requirements import Locked
from clowdy.server.releases.serving import build_application
from clowdy.server.store import functions, versions
from clowdy.server.store.projects import Project

REASON_LENGTH = 4000
"""How much a resolver may say, in characters."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A commit that passed every check that needs no start.

    `fresh` names the functions whose content has no version yet: these are tried before anything moves. `locked` is
    what is to be installed for them. `changes` is the project's count in `Context.changes` when secret values were
    read.
    """

    commit: str
    tree: GitTree
    manifest: Manifest
    judgement: Judgement
    versions: Mapping[str, FunctionVersion]
    applications: Mapping[str, Application]
    fresh: frozenset[str]
    locked: Locked | None = None
    changes: int = 0

    @property
    def lock(self) -> str | None:
        """What records and versions call its lock."""
        return self.locked.digest if self.locked is not None else None


async def judge_commit(
    context: Context, project: Project, repository: Repository, commit: str, *, with_secrets: bool = True
) -> tuple[GitTree, Judgement]:
    """The commit's tree and every problem that can be found without starting anything."""
    tree = await asyncio.to_thread(_tree_of, repository, commit)
    known = frozenset(await context.secret_values(project.id)) if with_secrets else None
    settings = Settings(
        memory_budget_bytes=context.config.memory_budget_bytes,
        python=context.syntax.version or None,
        # Without a driver nothing can run, which is said of the push as a whole.
        no_network=context.pool.driver.no_network if context.pool.unavailable is None else None,
    )
    try:
        judgement = await judge(tree, project=project.name, syntax=context.syntax, settings=settings, secrets=known)
    except SyntaxUnavailable as unavailable:
        raise Unavailable(str(unavailable)) from None
    return tree, judgement


async def prepare(
    context: Context,
    project: Project,
    repository: Repository,
    commit: str,
    *,
    live: str | None = None,
    upgrade: bool = False,
    say: Say,
) -> Candidate:
    """The candidate that a commit makes; raises Refused with every problem.

    `live` is the digest of the lock that serves. With `upgrade` requirements are resolved anew.
    """
    changes = context.changes[project.id]
    tree, judgement = await judge_commit(context, project, repository, commit)
    manifest = judgement.manifest
    if judgement.problems or manifest is None:
        raise Refused("the push has problems", judgement.problems)
    codes = await asyncio.to_thread(_codes, repository, commit, manifest)
    locked = None
    if judgement.wanted is not None:
        async with building(judgement):
            locked = await context.requirements.lock(repository, judgement.wanted, live=live, upgrade=upgrade, say=say)
    digest = locked.digest if locked is not None else None
    numbered, fresh = await _number(context, project, manifest, codes, digest)
    secrets = await context.secret_values(project.id)
    applications = {
        name: build_application(
            project, function, numbered[name], codes[name], secrets, locked.layer if locked is not None else None
        )
        for name, function in manifest.functions.items()
    }
    return Candidate(commit, tree, manifest, judgement, numbered, applications, fresh, locked, changes)


@contextlib.asynccontextmanager
async def building(judgement: Judgement) -> AsyncIterator[None]:
    """What resolver and installer say becomes a problem of the push, at its `requirements`."""
    try:
        yield
    except BuildFailed as failed:
        problem = judgement.parsed.marks.problem(("requirements",), "requirements", "")
        # Whole: a resolver comes to its conclusion in the end.
        problem = replace(problem, message=printable(failed.text, REASON_LENGTH))
        raise Refused("the requirements cannot be installed", [problem]) from None
    except DriverUnavailable as unavailable:
        raise Unavailable(f"requirements cannot be installed here: {unavailable}") from None


async def _number(
    context: Context, project: Project, manifest: Manifest, codes: Mapping[str, Code], lock: str | None
) -> tuple[dict[str, FunctionVersion], frozenset[str]]:
    """The version of each function: the old number where the content was seen before, else the next one."""
    numbered: dict[str, FunctionVersion] = {}
    fresh: set[str] = set()
    async with context.store.reading() as connection:
        known = {function.name: function for function in await functions.every(connection, project.id)}
        for name, spec in manifest.functions.items():
            digest = version_digest(spec, codes[name].id, lock)
            function = known.get(name)
            seen = await versions.by_digest(connection, function.id, digest) if function else None
            if function is not None and seen is not None:
                numbered[name] = FunctionVersion(function.id, name, seen.number, digest)
                continue
            fresh.add(name)
            numbered[name] = FunctionVersion(
                function.id if function else new_id(), name, function.last_version + 1 if function else 1, digest
            )
    return numbered, frozenset(fresh)


def _tree_of(repository: Repository, commit: str) -> GitTree:
    return repository.tree(commit)


def _codes(repository: Repository, commit: str, manifest: Manifest) -> dict[str, Code]:
    by_sources: dict[tuple[str, ...], Code] = {}
    tree = repository.commit(commit).tree
    for function in manifest.functions.values():
        if function.sources not in by_sources:
            by_sources[function.sources] = repository.code(tree, function.sources)
    return {name: by_sources[function.sources] for name, function in manifest.functions.items()}


def group_key(application: Application, function: FunctionSpec) -> tuple[object, ...]:
    """Versions with equal keys are tried in one instance: equal in all but name, handler and concurrency."""
    return (
        application.code.id,
        application.sources,
        application.layer,
        application.network,
        tuple(sorted(function.env.items())),
        function.secrets,
        application.limits,
        application.type,
    )
