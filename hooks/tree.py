"""A read-only view of one pushed tree, whoever holds it: the server's repository, a clone, a folder on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Kind(Enum):
    """What a path of a tree is."""

    FILE = "file"
    EXECUTABLE = "executable"
    SYMLINK = "symlink"
    SUBMODULE = "submodule"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a tree. `id` is git's object id in hex; `size` in bytes, 0 for what is not a file."""

    path: str
    kind: Kind
    id: str
    size: int


class TreeView(Protocol):
    """One tree. Paths are relative, with `/`, without `.` and `..`; names that are not UTF-8 appear with surrogates."""

    def entry(self, path: str) -> Entry | None:
        """What stands at `path`, or None. A symlink is never followed, also not as a folder on the way."""
        ...

    def walk(self, folder: str) -> Iterator[Entry]:
        """Every file, symlink and submodule below `folder` (`.`: the whole tree) in the order of their paths."""
        ...

    def read(self, entry: Entry, limit: int) -> bytes:
        """The content of a file; raises ValueError when it has more than `limit` bytes."""
        ...
