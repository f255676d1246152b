"""Rows for tests of the store."""

from __future__ import annotations

from clowdy.schema.release import FunctionVersion, ReleaseRecord
from clowdy.server.store.history import Entry
from clowdy.server.store.pushes import Push
from clowdy.server.store.pushes import State as PushState
from clowdy.server.store.releases import Release, State

COMMIT = "c" * 40


def make_release(
    project_id: str, number: int, *, state: State = State.DONE, commit: str = COMMIT, pinned: bool = False
) -> Release:
    """Release `number` with one function."""
    version = FunctionVersion("aaaaaaffffff", "hello", 3, "d" * 64, pinned)
    record = ReleaseRecord(number, commit, {"hello": version}, number - 1 or None, "ana", "push", 10)
    return Release(project_id, number, state, "e" * 40, commit, record, '{"rows":[]}', 12.5, 10.0 + number)


def make_entry(project_id: str, sequence: int) -> Entry:
    """The `sequence`-th switch."""
    return Entry(project_id, sequence, sequence, sequence - 1 or None, "ana", "push", "", 10.0 + sequence)


def make_push(push_id: str, project_id: str, *, state: PushState = PushState.LIVE, at: float = 10.0) -> Push:
    """A push of two refs with an option."""
    refs = (("0" * 40, COMMIT, "refs/heads/main"), ("0" * 40, COMMIT, "refs/tags/v1"))
    return Push(push_id, project_id, "shop", "ana", refs, ("format=json",), state, "", 1, at, at + 1, "lines\n")
