"""Refs: read from their files, moved by git in one transaction."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clowdy.server.errors import Conflict, GitError, Invalid
from clowdy.server.git.environment import clean_environment
from clowdy.server.git.objects import is_id
from clowdy.server.git.process import ProcessLimits, run
from clowdy.server.git.refnames import NULL, is_ref

if TYPE_CHECKING:
    from clowdy.server.git.repos import Repository

_refusal = re.compile(r"cannot (?:lock|update|delete) ref '(?P<ref>[^']*)': (?P<why>.*)", re.DOTALL)
_in_the_way = re.compile(r"'(?P<one>[^']*)' exists; cannot create|cannot process '[^']*' and '(?P<two>[^']*)'")
_moved = re.compile(
    r"is at [0-9a-f]+ but expected|reference already exists|unable to resolve reference|reference is missing"
    r"|is missing but expected|Unable to create '.*\.lock': File exists",
    re.DOTALL,
)


class Moved(Conflict):
    """A ref is not where it was expected"""


@dataclass(frozen=True, slots=True)
class RefUpdate:
    """One ref and where it goes: `old` is None when it must not exist, `new` is None to delete it."""

    ref: str
    old: str | None
    new: str | None


async def transaction(repository: Repository, updates: Sequence[RefUpdate]) -> None:
    """Moves every ref or none, synced, in the order given: when the last is renamed, the change has happened.

    Raises Moved naming the ref when one is not where it was expected, Conflict where two names cannot stand beside
    each other, GitError for anything else.
    """
    commands = b"start\0" + b"".join(_command(update) for update in updates) + b"prepare\0commit\0"
    settings = repository.settings
    inherited = () if settings.lock_fd is None else (settings.lock_fd,)
    try:
        await run(
            # It need not die with the server: it holds the lock that the next one waits for, and without its last
            # line it moves nothing.
            [settings.git, "update-ref", "--stdin", "-z"],
            clean_environment({}, {"GIT_DIR": str(repository.path)}),
            data=commands,
            limits=ProcessLimits(memory_bytes=settings.memory_bytes),
            pass_fds=inherited,
        )
    except GitError as error:
        found = _refusal.search(error.message)
        if found is not None and _moved.search(found["why"]):
            raise Moved(f"{found['ref']} moved meanwhile") from None
        if found is not None and (way := _in_the_way.search(found["why"])) is not None:
            other = way["one"] or way["two"]
            raise Conflict(f"{found['ref']} cannot stand beside {other}: one name is a folder of the other") from None
        raise


def _command(update: RefUpdate) -> bytes:
    if not is_ref(update.ref):
        raise Invalid(f"{update.ref!r} is not a ref name")
    for oid in (update.old, update.new):
        if oid is not None and not is_id(oid):
            raise Invalid(f"{oid!r} is not an object id")
    ref = update.ref.encode()
    if update.new is None:
        # With an empty old value git would delete whatever stands there.
        if update.old is None:
            raise Invalid(f"{update.ref} cannot be deleted without its present value")
        return b"delete %s\0%s\0" % (ref, update.old.encode())
    return b"update %s\0%s\0%s\0" % (ref, update.new.encode(), (update.old or NULL).encode())


def read_ref(git_dir: Path, name: str) -> str | None:
    """The id that a ref holds, or None. Its own file is read first: git writes packed-refs before it removes one."""
    if not is_ref(name):
        return None
    loose = _read_loose(git_dir / name)
    return loose if loose is not None else _packed(git_dir).get(name)


def read_refs(git_dir: Path, prefix: str) -> dict[str, str]:
    """Every ref whose name begins with `prefix`, by name."""
    loose = {name: oid for name, oid in _walk(git_dir, prefix) if name.startswith(prefix)}
    packed = {name: oid for name, oid in _packed(git_dir).items() if name.startswith(prefix)}
    return dict(sorted({**packed, **loose}.items()))


def _walk(git_dir: Path, prefix: str) -> Iterator[tuple[str, str]]:
    folder = prefix.rpartition("/")[0] or "refs"
    for path, _, files in os.walk(git_dir / folder):
        for file in files:
            name = (Path(path) / file).relative_to(git_dir).as_posix()
            oid = None if file.endswith(".lock") else _read_loose(git_dir / name)
            if oid is not None and is_ref(name):
                yield name, oid


def _read_loose(path: Path) -> str | None:
    try:
        text = path.read_bytes()[:41].decode("ascii", "replace").strip()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    return text if is_id(text) else None


def _packed(git_dir: Path) -> dict[str, str]:
    try:
        text = (git_dir / "packed-refs").read_text(errors="surrogateescape")
    except FileNotFoundError:
        return {}
    found: dict[str, str] = {}
    for line in text.splitlines():
        oid, _, name = line.partition(" ")
        if is_id(oid) and name:
            found[name] = oid
    return found
