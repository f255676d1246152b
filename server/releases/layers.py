"""What releases need installed: brought back when it is gone, and removed when none needs it any more."""

from __future__ import annotations

import asyncio

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.layers.api import BuildFailed, Say
from clowdy.schema.locks import Wanted
from clowdy.schema.source import SIZE_LIMIT_BYTES
from clowdy.server.errors import ClowdyError, Invalid, Unavailable
from clowdy.server.git.refs import Moved, RefUpdate, transaction
from clowdy.server.git.repos import Repository
from clowdy.server.releases.context import Context
from clowdy.server.releases.load import load
from clowdy.server.releases.locks import REF, find_any_lock, keep
from clowdy.server.releases.prepare import judge_commit
from clowdy.server.releases.requirements import Locked
from clowdy.server.releases.serving import Serving
from clowdy.server.store import history, projects, releases
from clowdy.server.store.projects import Project

_DAY = 86_400.0
_TRIES = 3


def is_complete(context: Context, repository: Repository, serving: Serving) -> bool:
    """Whether everything that a release needs is installed for the Python here, and it knows that; blocks."""
    if serving.record.lock is None:
        return True
    if serving.lacks_requirements:
        return False
    lock = context.requirements.find(repository, serving.record.lock)
    return lock is not None and context.requirements.packages.has(lock.digest)


def requirements_text(repository: Repository, serving: Serving) -> str:
    """What a release wants installed, one requirement a line; of a lock or a pyproject.toml its pins. Blocks."""
    manifest, record = serving.manifest, serving.record
    if record.lock is None:
        return ""
    if manifest.requirements_file is None:
        return "\n".join(manifest.requirements)
    if manifest.requirements_file.endswith(".txt"):
        tree = repository.tree(record.commit)
        entry = tree.entry(manifest.requirements_file)
        if entry is not None:
            return tree.read(entry, SIZE_LIMIT_BYTES).decode(errors="replace")
    lock = find_any_lock(repository, record.lock)
    return "\n".join(f"{name}=={version}" for name, version in lock.versions.items()) if lock is not None else ""


async def bring(context: Context, repository: Repository, serving: Serving, say: Say) -> Serving:
    """The same release with its requirements installed: from its stored lock, or for another Python from its versions.

    Raises Invalid with the resolver's reason, or Unavailable.
    """
    project, record = serving.project, serving.record
    if record.lock is None:
        return serving
    requirements = context.requirements
    complete = await asyncio.to_thread(is_complete, context, repository, serving)
    try:
        lock = await asyncio.to_thread(requirements.find, repository, record.lock)
        if lock is None:
            wanted = await _wanted(context, project, repository, record.commit)
            locked = await requirements.here(repository, record.lock, wanted, say)
            if locked is None:
                raise Invalid(f"the lock of {record.tag} is not in {REF}: push its commit again")
            await _keep(context, repository, locked)
            lock = locked.lock
        await requirements.build(lock, say)
    except BuildFailed as failed:
        raise Invalid(f"the requirements of {record.tag} cannot be installed: {failed.text}") from None
    except DriverUnavailable as unavailable:
        raise Unavailable(f"the requirements of {record.tag} cannot be installed here: {unavailable}") from None
    return serving if complete else await load(context, project, repository, record, serving.tag)


async def _wanted(context: Context, project: Project, repository: Repository, commit: str) -> Wanted | None:
    try:
        _, judgement = await judge_commit(context, project, repository, commit, with_secrets=False)
    except ClowdyError:
        return None
    return judgement.wanted


async def _keep(context: Context, repository: Repository, locked: Locked) -> None:
    """Adds a lock to refs/clowdy/locks by itself: no release is made for it."""

    def write() -> list[RefUpdate]:
        drafts = repository.drafts()
        kept = keep(repository, locked.files, context.clock(), drafts)
        drafts.write()
        return [RefUpdate(REF, kept.tip, kept.commit)] if kept is not None else []

    for left in reversed(range(_TRIES)):
        updates = await asyncio.to_thread(write)
        try:
            if updates:
                await transaction(repository, updates)
        except Moved:
            # A release of the same project took its place: both are to stay.
            if not left:
                raise
        else:
            return


async def sweep(context: Context) -> list[str]:
    """Removes the layers that nothing needs: not what serves, what may serve again, nor what a push works on.

    What the last releases of a project need and what was live lately is kept, as the settings say.
    """
    kept = set(context.requirements.in_use())
    async with context.store.reading() as connection:
        every = await projects.every(connection)
    for project in every:
        kept |= await needed(context, project)
    # Asked again: a push may have begun meanwhile.
    gone = set(context.requirements.packages.sizes()) - kept - context.requirements.in_use()
    await context.requirements.packages.remove(gone)
    return sorted(gone)


async def needed(context: Context, project: Project) -> set[str]:
    """The layers, for the Python here, that a project's releases keep."""
    config = context.config
    async with context.store.reading() as connection:
        last = await releases.every(connection, project.id, config.keep_releases)
        since = context.clock() - config.keep_days * _DAY
        numbers = await history.served_since(connection, project.id, since)
        others = [await releases.find(connection, project.id, number) for number in numbers]
    digests = {release.record.lock for release in (*last, *others) if release is not None}
    serving = context.live.get(project.id)
    if serving is not None:
        digests.add(serving.record.lock)
    repository = context.repositories.open(project.id)
    locks = [
        await asyncio.to_thread(context.requirements.find, repository, digest)
        for digest in digests
        if digest is not None
    ]
    return {lock.digest for lock in locks if lock is not None}
