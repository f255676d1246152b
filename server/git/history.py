"""What C git answers about history, which in process would take a hundred times as long."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from clowdy.server.errors import GitError, Invalid, NotFound
from clowdy.server.git.environment import clean_environment
from clowdy.server.git.objects import is_id
from clowdy.server.git.values import Commit, parse_commit

if TYPE_CHECKING:
    from clowdy.server.git.repos import Repository

# How many commits are looked at in process before a process is started: a push usually adds a few.
NEAR = 16
SECONDS = 30


class Changes(NamedTuple):
    """Lines of one file; None where it is binary."""

    added: int | None
    removed: int | None


def is_ancestor(repository: Repository, old: str, new: str) -> bool:
    """Whether `new` contains `old`."""
    if old == new:
        return True
    commit = new
    for _ in range(NEAR):
        parents = repository.commit(commit).parents
        if old in parents:
            return True
        if not parents:
            return False
        if len(parents) > 1:
            break
        commit = parents[0]
    return _git(repository, ["merge-base", "--is-ancestor", _whole(old), _whole(new)], accepted=(0, 1)).returncode == 0


def log(repository: Repository, commit: str, *, path: str | None = None, limit: int = 50) -> list[Commit]:
    """The newest `limit` commits that `commit` contains, those that changed `path` when it is given."""
    arguments = ["rev-list", f"--max-count={limit}", "--end-of-options", _whole(commit), "--"]
    if path is not None:
        if path.startswith("/") or ".." in path.split("/"):
            raise Invalid(f"{path!r} is not a path of a repository")
        arguments.append(path)
    found = _git(repository, arguments, extra={"GIT_LITERAL_PATHSPECS": "1"}).stdout.decode().split()
    return [parse_commit(oid, repository.objects.read_typed(oid, "commit")) for oid in found]


def between(repository: Repository, old: str, new: str, limit: int) -> list[str]:
    """The ids of the newest `limit` commits that `new` contains and `old` does not."""
    arguments = ["rev-list", f"--max-count={limit}", "--end-of-options", _whole(new), f"^{_whole(old)}", "--"]
    return _git(repository, arguments).stdout.decode().split()


def merge_base(repository: Repository, one: str, other: str) -> str | None:
    """The newest commit that both contain, or None."""
    arguments = ["merge-base", "--end-of-options", _whole(one), _whole(other)]
    return _git(repository, arguments, accepted=(0, 1)).stdout.decode().strip() or None


def differences(repository: Repository, old: str, new: str) -> dict[str, Changes]:
    """Lines added and removed in each file that differs between two trees or commits, by path."""
    options = ["-r", "-z", "--numstat", "--no-renames", "--no-ext-diff", "--no-textconv"]
    answer = _git(repository, ["diff-tree", *options, "--end-of-options", _whole(old), _whole(new)]).stdout
    changes: dict[str, Changes] = {}
    for line in answer.split(b"\0"):
        added, _, rest = line.partition(b"\t")
        removed, _, path = rest.partition(b"\t")
        if path:
            changes[os.fsdecode(path)] = Changes(_lines(added), _lines(removed))
    return changes


def _lines(text: bytes) -> int | None:
    return int(text) if text.isdigit() else None


def _whole(oid: str) -> str:
    if not is_id(oid):
        raise NotFound(f"{oid!r} is not an object id")
    return oid


def _git(
    repository: Repository,
    arguments: Sequence[str],
    *,
    accepted: Sequence[int] = (0,),
    extra: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    try:
        done = subprocess.run(
            [repository.settings.git, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            env=clean_environment({}, {"GIT_DIR": str(repository.path), **(extra or {})}),
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise GitError(f"git {arguments[0]} took longer than {SECONDS} s") from None
    if done.returncode not in accepted:
        raise GitError(done.stderr.decode(errors="replace").strip() or f"git {arguments[0]} failed")
    return done
