"""Releases, the way back, and pushes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from clowdy.server.errors import ClowdyError, NotFound
from clowdy.server.people.auth import Right
from clowdy.server.store import pushes as stored_pushes
from clowdy.server.store import releases as stored
from clowdy.server.store.pushes import State as PushState
from clowdy.server.store.releases import Release
from clowdy.server.web import shapes
from clowdy.server.web.endpoints import Asked, Table

table = Table()


@table.get("/api/projects/{project}/releases", Right.READ)
async def every(asked: Asked) -> object:
    """The project's releases, newest first."""
    async with asked.services.store.reading() as connection:
        found = await stored.every(connection, asked.project.id, asked.number("limit", 50))
    subjects = await asyncio.to_thread(_subjects, asked, found)
    serving = asked.services.releases.live(asked.project.id)
    return [shapes.release(release, subjects[release.commit], serving) for release in found]


@table.get("/api/projects/{project}/releases/{number}", Right.READ)
async def show(asked: Asked) -> object:
    """One release, with its plan and what its push said."""
    text = asked.segment("number").removeprefix("deploy/")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    async with asked.services.store.reading() as connection:
        release = await stored.find(connection, asked.project.id, number)
        if release is None:
            raise NotFound("Release not found")
        made_by = await stored_pushes.of_release(connection, asked.project.id, number)
    subjects = await asyncio.to_thread(_subjects, asked, [release])
    serving = asked.services.releases.live(asked.project.id)
    shown = shapes.release(release, subjects[release.commit], serving)
    return shown | {"plan": shapes.plan(release.plan), "output": made_by.output if made_by else ""}


@table.post("/api/projects/{project}/rollback", Right.DEPLOY)
async def rollback(asked: Asked) -> object:
    """Serves an earlier release: `to` names it, without it the one that served before."""
    body = await asked.body()
    to, reason = body.text("to", None, most=300), body.text("reason", "", most=1_000)
    outcome = await asked.services.releases.rollback(asked.project, to or None, asked.who, reason)
    return {
        "release": outcome.release,
        "tag": f"deploy/{outcome.release}",
        "commit": outcome.commit,
        "before": outcome.before,
        "lines": list(outcome.lines),
    }


@table.get("/api/projects/{project}/pushes", Right.READ)
async def pushes(asked: Asked) -> object:
    """The project's pushes, newest first; with `?all=1` also those of which nothing went live or was stored."""
    states = () if asked.flag("all") else _THAT_DID_SOMETHING
    async with asked.services.store.reading() as connection:
        found = await stored_pushes.every(connection, asked.project.id, asked.number("limit", 50), states=states)
    return [shapes.push(push) for push in found]


@table.get("/api/projects/{project}/pushes/{push}", Right.READ)
async def push(asked: Asked) -> object:
    """One push, with everything that it said."""
    async with asked.services.store.reading() as connection:
        found = await stored_pushes.find(connection, asked.project.id, asked.segment("push"))
    if found is None:
        raise NotFound("Push not found")
    return shapes.push(found, output=True)


@table.post("/api/projects/{project}/cancel", Right.DEPLOY)
async def cancel(asked: Asked) -> object:
    """Stops the push that is running."""
    return shapes.push(await asked.services.releases.cancel(asked.project, None, asked.who))


@table.post("/api/projects/{project}/pushes/{push}/cancel", Right.DEPLOY)
async def cancel_one(asked: Asked) -> object:
    """Stops one push, if it is running."""
    return shapes.push(await asked.services.releases.cancel(asked.project, asked.segment("push"), asked.who))


_THAT_DID_SOMETHING = frozenset({PushState.RUNNING, PushState.LIVE, PushState.STORED})


def _subjects(asked: Asked, releases: Sequence[Release]) -> dict[str, str]:
    subjects = {}
    for commit in {release.commit for release in releases}:
        try:
            subjects[commit] = asked.services.repositories.open(asked.project.id).commit(commit).subject
        except ClowdyError:
            subjects[commit] = ""
    return subjects
