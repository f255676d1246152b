"""The chain of commits below refs/clowdy/history, and the notes that are made from it.

Each commit holds one file, `entry.json`; its parent is what went live before. The chain is the record, the
database's rows are an index of it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from clowdy.server.git.loose import Drafts
from clowdy.server.git.repos import Repository
from clowdy.server.store.history import Entry

REF = "refs/clowdy/history"
FILE = "entry.json"


def write_entry(
    repository: Repository, entry: Entry, tag: str, parent: str | None, drafts: Drafts | None = None
) -> str:
    """The id of a commit that says what went live, after `parent`; no ref moves. See `Repository.write_commit`."""
    content = json.dumps(
        {
            "sequence": entry.sequence,
            "release": entry.release,
            "tag": tag,
            "before": entry.before,
            "who": entry.who,
            "how": entry.how,
            "why": entry.why,
            "at": entry.at,
            "duration_ms": round(entry.duration_ms, 3),
            "changes": entry.changes,
        },
        separators=(",", ":"),
    )
    return repository.write_commit(
        {FILE: content.encode()},
        [parent] if parent else [],
        f"deploy/{entry.release} live: {entry.how}\n",
        entry.who,
        entry.at,
        drafts,
    )


def read_entry(repository: Repository, project_id: str, commit: str) -> tuple[Entry, str]:
    """The entry of one commit of the chain and the tag object that it made live; raises ValueError."""
    info = repository.commit(commit)
    found = repository.tree(info.tree).entry(FILE)
    if found is None:
        raise ValueError(f"{commit} has no {FILE}")
    try:
        content = json.loads(repository.read_blob(found.id))
        entry = Entry(
            project_id=project_id,
            sequence=int(content["sequence"]),
            release=int(content["release"]),
            before=None if content["before"] is None else int(content["before"]),
            who=str(content["who"]),
            how=str(content["how"]),
            why=str(content["why"]),
            at=float(content["at"]),
            duration_ms=float(content.get("duration_ms", 0.0)),
            changes=str(content.get("changes", "")),
        )
        return entry, str(content["tag"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{commit} is no history entry: {error!r}") from None


def read_chain(repository: Repository, project_id: str) -> list[tuple[Entry, str]]:
    """Every entry with its tag object, oldest first."""
    entries: list[tuple[Entry, str]] = []
    commit = repository.ref(REF)
    while commit is not None:
        entries.append(read_entry(repository, project_id, commit))
        parents = repository.commit(commit).parents
        commit = parents[0] if parents else None
    entries.reverse()
    return entries


def note_line(entry: Entry) -> str:
    """One line of refs/notes/deploys: who, when, how, how long, and what changed."""
    moment = datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%d %H:%M")
    how = f"{entry.how} from deploy/{entry.before}" if entry.how == "rollback" and entry.before else entry.how
    why = f' ("{entry.why}")' if entry.why else ""
    changes = f"; {entry.changes}" if entry.changes else "; nothing changed"
    return f"deploy/{entry.release} live {moment} by {entry.who}, {how}{why}, {entry.duration_ms / 1000:.2f} s{changes}"
