"""refs/notes/deploys: the history of what was live, where `git log --notes=deploys` shows it.

Made from the history chain and the database, later than the switch and repeatable: a note that is lost is written
again with the next one of its commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from clowdy.server.errors import Conflict
from clowdy.server.git import notes as git_notes
from clowdy.server.git.refs import RefUpdate, transaction
from clowdy.server.git.repos import Repository
from clowdy.server.releases.context import Context
from clowdy.server.releases.history import note_line
from clowdy.server.store import history
from clowdy.server.store.projects import Project

REF = "refs/notes/deploys"
WRITER = "clowdy"
ATTEMPTS = 20
_OF_SECRETS = "secret "


async def write_note(context: Context, project: Project, commit: str) -> None:
    """Writes the note of one commit: one line for each time that a release of it went live."""
    async with context.store.reading() as connection:
        entries = await history.of_commit(connection, project.id, commit)
    lines = [note_line(entry) for entry in reversed(entries)]

    def note(present: str) -> str:
        secrets = [line for line in present.splitlines() if line.startswith(_OF_SECRETS)]
        return "".join(f"{line}\n" for line in lines + secrets)

    await _change(context, project, commit, note)


async def note_secret(context: Context, project: Project, commit: str, name: str, who: str, at: float) -> None:
    """Adds to the note of the live commit that a secret's value changed; never the value."""
    moment = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
    await _change(context, project, commit, lambda present: f"{present}{_OF_SECRETS}{name} changed {moment} by {who}\n")


async def _change(context: Context, project: Project, commit: str, note: Callable[[str], str]) -> None:
    repository = context.repositories.open(project.id)
    for _ in range(ATTEMPTS):
        old, new = await asyncio.to_thread(_write, repository, commit, note, context.clock())
        if new is None:
            return
        try:
            await transaction(repository, [RefUpdate(REF, old, new)])
        except Conflict:
            # Another note was written at the same time.
            continue
        return
    raise Conflict(f"the notes of {project.name} change all the time")


def _write(repository: Repository, commit: str, note: Callable[[str], str], at: float) -> tuple[str | None, str | None]:
    old = repository.ref(REF)
    present = git_notes.read_note(repository, old, commit)
    wanted = note(present)
    if wanted == present:
        return old, None
    return old, git_notes.write_note(repository, old, commit, wanted, WRITER, at)
