"""The locks of a project: blobs that refs/clowdy/locks keeps.

Its commit holds every lock that a release of the project was made with, one file for each Python and platform that
it was built for, and one small file for each text of requirements that says which lock it became. The commit before
it is its parent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from clowdy.hooks.tree import Kind
from clowdy.schema.locks import LARGEST_LOCK_BYTES, Lock
from clowdy.schema.rejection import Rejection
from clowdy.server.git.loose import Drafts
from clowdy.server.git.repos import Repository
from clowdy.server.git.trees import GitTree

REF = "refs/clowdy/locks"

_WISH = "wanted-"
_NAME = re.compile(r"lock-([0-9a-f]{64})-([0-9.]{1,20})-([A-Za-z0-9_.-]{1,100})")


@dataclass(frozen=True, slots=True)
class Kept:
    """A commit of locks that no ref names yet, and what the ref holds now."""

    tip: str | None
    commit: str


def lock_file(digest: str, lock: Lock) -> dict[str, bytes]:
    """The file of a lock that releases call `digest`: its own digest, or that of the lock for another Python."""
    text = f"# Python {lock.python}, {lock.platform}\n{lock.text}"
    return {f"lock-{digest}-{lock.python}-{lock.platform}": text.encode()}


def wish_file(key: str, digest: str) -> dict[str, bytes]:
    """The file that says which lock the requirements of `key` became."""
    return {f"{_WISH}{key}": f"{digest}\n".encode()}


def find_lock(repository: Repository, digest: str, python: str, platform: str) -> Lock | None:
    """The lock that releases call `digest`, as it is for that Python and platform; blocks."""
    tree = _tree(repository)
    return None if tree is None else _read(tree, f"lock-{digest}-{python}-{platform}")


def find_any_lock(repository: Repository, digest: str) -> Lock | None:
    """The same for whatever Python there is one, that which it was first made for before others; blocks."""
    tree = _tree(repository)
    if tree is None:
        return None
    found = (_read(tree, entry.path) for entry in tree.walk(".") if entry.path.startswith(f"lock-{digest}-"))
    locks = [lock for lock in found if lock is not None]
    return next((lock for lock in locks if lock.digest == digest), locks[0] if locks else None)


def find_wish(repository: Repository, key: str) -> str | None:
    """The digest of the lock that the requirements of `key` became last; blocks."""
    tree = _tree(repository)
    content = None if tree is None else _content(tree, f"{_WISH}{key}")
    return None if content is None else content.decode("ascii", "replace").strip()


def keep(repository: Repository, files: Mapping[str, bytes], at: float, drafts: Drafts) -> Kept | None:
    """Adds files to those that are kept; they are on disk once `drafts` are written. None adds nothing. Blocks."""
    tip = repository.ref(REF)
    tree = _tree(repository)
    there = {entry.path: entry.id for entry in tree.walk(".")} if tree is not None else {}
    if all(there.get(name) == drafts.add("blob", content) for name, content in files.items()):
        return None
    parents = [tip] if tip is not None else []
    return Kept(tip, repository.write_commit(files, parents, "Locks\n", "clowdy", at, drafts, kept=there))


def _tree(repository: Repository) -> GitTree | None:
    tip = repository.ref(REF)
    return None if tip is None else repository.tree(repository.commit(tip).tree)


def _read(tree: GitTree, name: str) -> Lock | None:
    match, content = _NAME.fullmatch(name), _content(tree, name)
    if match is None or content is None:
        return None
    try:
        return Lock.read(content.decode(), match[2], match[3])
    except (Rejection, UnicodeDecodeError):
        return None


def _content(tree: GitTree, name: str) -> bytes | None:
    entry = tree.entry(name)
    if entry is None or entry.kind is not Kind.FILE or entry.size > LARGEST_LOCK_BYTES:
        return None
    return tree.read(entry, LARGEST_LOCK_BYTES)
