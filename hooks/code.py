"""Which files of a tree are a function's code: the union of its `source` folders less what `.clowdyignore` names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from clowdy.hooks.ignore import FILE_BYTES, Ignore, IgnoreError
from clowdy.hooks.tree import Entry, Kind, TreeView

IGNORE_FILE = ".clowdyignore"
DEFAULT_PATTERNS = b"clowdy.yaml\n*.md\n/tests/\n/docs/\n/.github/\n"


def read_patterns(tree: TreeView) -> Ignore:
    """What the tree's `.clowdyignore` leaves out, or the default; raises IgnoreError for a file that is refused."""
    entry = tree.entry(IGNORE_FILE)
    if entry is None:
        return Ignore.parse(DEFAULT_PATTERNS)
    if entry.kind not in (Kind.FILE, Kind.EXECUTABLE):
        raise IgnoreError(1, f"{IGNORE_FILE} is a {entry.kind.value}, it must be a file")
    if entry.size > FILE_BYTES:
        raise IgnoreError(1, f"{IGNORE_FILE} has more than {FILE_BYTES // 1024} KB")
    return Ignore.parse(tree.read(entry, FILE_BYTES))


def filtered(tree: TreeView, sources: Sequence[str], patterns: Ignore) -> list[Entry]:
    """Every file, symlink and submodule of the code, in the order of their paths' bytes, each once."""
    matcher = patterns.matcher()
    folders = outermost(sources)
    entries = [entry for folder in folders for entry in tree.walk(folder) if not matcher.leaves_out(entry.path)]
    if len(folders) > 1:
        entries.sort(key=lambda entry: os.fsencode(entry.path))
    return entries


def outermost(folders: Iterable[str]) -> list[str]:
    """`folders` without those that lie in another one of them."""
    given = set(folders)
    return sorted(folder for folder in given if not any(above in given for above in folders_above(folder)))


def folders_above(path: str) -> Iterator[str]:
    """Every folder that `path` lies in, the whole tree `.` first."""
    if path != ".":
        yield "."
    end = path.find("/")
    while end > 0:
        yield path[:end]
        end = path.find("/", end + 1)


def inside(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies in it; `.` is the whole tree."""
    return folder in (".", path) or path.startswith(f"{folder}/")
