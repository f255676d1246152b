"""From a release's record and commit to what serves: the same for an activation, a rollback and a start."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from clowdy.hooks.tree import Kind
from clowdy.runtimes.api import Application
from clowdy.schema.manifest import FunctionSpec, Manifest, RouteSpec
from clowdy.schema.parse import FILE as MANIFEST
from clowdy.schema.parse import parse_manifest
from clowdy.schema.release import ReleaseRecord
from clowdy.schema.source import SIZE_LIMIT_BYTES
from clowdy.server.errors import Invalid
from clowdy.server.git.repos import Repository
from clowdy.server.releases.context import Context
from clowdy.server.releases.requirements import Requirements
from clowdy.server.releases.serving import NO_VALUE, NOT_INSTALLED, Serving, build_application
from clowdy.server.store.projects import Project


async def load(context: Context, project: Project, repository: Repository, record: ReleaseRecord, tag: str) -> Serving:
    """What `record` serves; functions that cannot start here are in its `problems`, so the others still do.

    Raises Invalid when the commit's clowdy.yaml cannot be read at all.
    """
    changes = context.changes[project.id]
    secrets = await context.secret_values(project.id)
    return await asyncio.to_thread(_load, context.requirements, project, repository, record, tag, secrets, changes)


def unreadable(project: Project, record: ReleaseRecord, tag: str, reason: str) -> Serving:
    """What serves of a release that cannot be read: every function is known, and none can be called."""
    functions = {name: FunctionSpec(name, "") for name in record.functions}
    routes = tuple(RouteSpec("ANY", "/*path", name) for name in list(functions)[:1])
    return Serving(project, record, tag, Manifest(functions, routes), {}, dict.fromkeys(functions, reason))


def read_manifest(repository: Repository, commit: str) -> Manifest:
    """The manifest of a commit that was accepted once; raises Invalid when nothing can be made of it now."""
    tree = repository.tree(repository.commit(commit).tree)
    entry = tree.entry(MANIFEST)
    if entry is None or entry.kind not in (Kind.FILE, Kind.EXECUTABLE):
        raise Invalid(f"{commit[:7]} has no {MANIFEST}")
    parsed = parse_manifest(tree.read(entry, SIZE_LIMIT_BYTES))
    if parsed.manifest is None:
        raise Invalid(f"{MANIFEST} of {commit[:7]} cannot be read by this version of the server")
    return parsed.manifest


def _load(
    requirements: Requirements,
    project: Project,
    repository: Repository,
    record: ReleaseRecord,
    tag: str,
    secrets: Mapping[str, str],
    changes: int,
) -> Serving:
    manifest = read_manifest(repository, record.commit)
    tree = repository.commit(record.commit).tree
    applications: dict[str, Application] = {}
    problems: dict[str, str] = {}
    lock = requirements.find(repository, record.lock) if record.lock is not None else None
    layer = lock.digest if lock is not None else None
    for name, version in record.functions.items():
        function = manifest.functions.get(name)
        if function is None:
            problems[name] = f"{MANIFEST} of this release has no function {name}"
            continue
        if layer is None and record.lock is not None:
            problems[name] = f"the requirements of {record.tag}{NOT_INSTALLED}"
            continue
        try:
            code = repository.code(tree, function.sources)
            applications[name] = build_application(project, function, version, code, secrets, layer)
        except KeyError as missing:
            problems[name] = f"{NO_VALUE}{missing.args[0]} has no value: clowdy secret set {missing.args[0]}"
    return Serving(project, record, tag, manifest, applications, problems, changes)
