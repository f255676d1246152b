"""What `X:live` and `clowdy rollback X` mean: an earlier release, or a commit that has none."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clowdy.server.errors import Invalid
from clowdy.server.git.repos import Repository
from clowdy.server.releases.commands import HEADS, RELEASE_TAGS, TAGS
from clowdy.server.releases.context import Context
from clowdy.server.store import history, releases
from clowdy.server.store.releases import Release, State

_commit_id = re.compile(r"[0-9a-f]{4,40}")


@dataclass(frozen=True, slots=True)
class Target:
    """A commit, and the release of it that is meant, if there is one."""

    commit: str
    release: Release | None


async def target_of_object(context: Context, project_id: str, repository: Repository, oid: str) -> Target:
    """What an object pushed to `live` means; raises Invalid when it is no commit and leads to none.

    Only a tag object that `refs/tags/deploy/*` here points to is a release by itself: another server's `deploy/3`
    is peeled like any tag.
    """
    peeled = repository.peel(oid)
    if peeled.commit is None:
        raise Invalid("live takes a commit, or a tag of one")
    if oid != peeled.commit:
        name = repository.tag(oid).name
        number = name.removeprefix("deploy/")
        if name.startswith("deploy/") and number.isdecimal() and repository.ref(TAGS + name) == oid:
            async with context.store.reading() as connection:
                release = await releases.find(connection, project_id, int(number))
            if release is not None and release.state is State.DONE:
                return Target(peeled.commit, release)
    return await _target_of_commit(context, project_id, peeled.commit)


async def target_of_text(context: Context, project_id: str, repository: Repository, text: str) -> Target:
    """What a person typed: `deploy/41`, `41`, a tag, a branch, a commit or its beginning; raises Invalid."""
    name = text.removeprefix("refs/tags/").removeprefix("refs/heads/")
    for ref in (TAGS + name, HEADS + name, RELEASE_TAGS + name):
        oid = repository.ref(ref)
        if oid is not None:
            return await target_of_object(context, project_id, repository, oid)
    if _commit_id.fullmatch(name):
        async with context.store.reading() as connection:
            commits = await releases.starting_with(connection, project_id, name)
        if len(commits) > 1:
            raise Invalid(f"{name} begins more than one commit: give more of it")
        if commits:
            return await _target_of_commit(context, project_id, commits.pop())
        if len(name) == 40 and repository.has_commit(name):
            return Target(name, None)
    raise Invalid(f"there is no release, tag, branch or commit {text!r} here: see clowdy releases")


async def what_served_before(context: Context, project_id: str) -> Release:
    """The release that a rollback without a target goes to; raises Invalid when there is none."""
    serving = context.live.get(project_id)
    if serving is None:
        raise Invalid("nothing is live in this project")
    async with context.store.reading() as connection:
        number = await history.before(connection, project_id, serving.number)
        release = await releases.find(connection, project_id, number) if number is not None else None
    if release is not None:
        return release
    raise Invalid(f"nothing served before deploy/{serving.number}: there is nothing to go back to")


async def _target_of_commit(context: Context, project_id: str, commit: str) -> Target:
    async with context.store.reading() as connection:
        return Target(commit, await releases.newest_of_commit(connection, project_id, commit))
