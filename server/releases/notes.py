"""refs/notes/deploys: the history of what was live, where `git log --notes=deploys` shows it.

Made from the history chain and the database, later than the switch and repeatable: a note that is lost is written
again with the next one of its commit.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

from clowdy.server.errors import Conflict
from clowdy.server.git import notes as git_notes
from clowdy.server.git.refs import RefUpdate, transaction
from clowdy.server.git.repos import Repository
from clowdy.server.releases.context import Context
from clowdy.server.releases.history import note_line
from clowdy.server.store import history, releases
from clowdy.server.store.projects import Project

REF = "refs/notes/deploys"
WRITER = "clowdy"
_OF_SECRETS = "secret "


async def write_note(context: Context, project: Project, commit: str) -> None:
    """Writes the note of one commit: one line for each time that a release of it went live."""
    repository = context.repositories.open(project.id)
    async with context.store.reading() as connection:
        of_commit = {
            release.number: release
            for release in await releases.every(connection, project.id)
            if release.commit == commit
        }
        entries = [entry for entry in await history.every(connection, project.id) if entry.release in of_commit]
    lines = [
        note_line(entry, of_commit[entry.release].duration_ms, _summary(of_commit[entry.release].plan))
        for entry in reversed(entries)
    ]
    old = repository.ref(REF)
    lines += [
        line for line in git_notes.read_note(repository, old, commit).splitlines() if line.startswith(_OF_SECRETS)
    ]
    new = await asyncio.to_thread(_write, repository, old, commit, "\n".join(lines) + "\n", context.clock())
    try:
        await transaction(repository, [RefUpdate(REF, old, new)])
    except Conflict:
        # Two activations at once: the later one writes the same lines again.
        await write_note(context, project, commit)


async def note_secret(context: Context, project: Project, commit: str, name: str, who: str, at: float) -> None:
    """Adds to the note of the live commit that a secret's value changed; never the value."""
    moment = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
    repository = context.repositories.open(project.id)
    kept = git_notes.read_note(repository, repository.ref(REF), commit)
    text = f"{kept}{_OF_SECRETS}{name} changed {moment} by {who}\n"
    old = repository.ref(REF)
    new = await asyncio.to_thread(_write, repository, old, commit, text, at)
    await transaction(repository, [RefUpdate(REF, old, new)])


def _write(repository: Repository, old: str | None, commit: str, text: str, at: float) -> str:
    return git_notes.write_note(repository, old, commit, text, WRITER, at)


def _summary(plan: str) -> str:
    if not plan:
        return ""
    rows = json.loads(plan).get("rows", [])
    return ", ".join(f"{row['sign']} {row['kind']} {row['name']}" for row in rows if row["sign"] in "+-~")[:200]
