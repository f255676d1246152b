"""A function's code in a repository, as the runtimes take it.

Its id is made folder by folder and each folder's part is remembered, so that a push which changes one file of many
filters and hashes that file's folders only.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from clowdy.hooks.code import IGNORE_FILE, filtered, outermost, read_patterns
from clowdy.hooks.ignore import Ignore, IgnoreError, Matcher
from clowdy.hooks.tree import Kind
from clowdy.runtimes.api import CodeFile
from clowdy.server.errors import Invalid
from clowdy.server.git.memory import Bounded
from clowdy.server.git.trees import GitTree, Trees

_TAKEN = (Kind.FILE, Kind.EXECUTABLE)


class Part(NamedTuple):
    """What of one folder belongs to the code: `digest` is empty where nothing does."""

    digest: bytes
    files: int
    bytes: int


@dataclass(slots=True)
class CodeMemory:
    """What is remembered of all code: parts by owner, tree, path and patterns; the files of what was asked for."""

    parts: Bounded[tuple[str, str, str, str], Part] = field(default_factory=lambda: Bounded(100_000))
    files: Bounded[tuple[str, str, tuple[str, ...]], tuple[CodeFile, ...]] = field(
        default_factory=lambda: Bounded(100_000)
    )


class GitCode:
    """A function's filtered tree (`runtimes.api.Code`)."""

    def __init__(self, trees: Trees, tree: str, sources: tuple[str, ...], whole: Part, memory: CodeMemory) -> None:
        self._trees = trees
        self._tree = tree
        self._sources = sources
        self._whole = whole
        self._memory = memory

    @property
    def id(self) -> str:
        """Names the content: equal ids are equal trees."""
        return self._whole.digest.hex()

    @property
    def total_bytes(self) -> int:
        """What all files hold together."""
        return self._whole.bytes

    @property
    def file_count(self) -> int:
        """How many files there are."""
        return self._whole.files

    def files(self) -> Sequence[CodeFile]:
        """Every file, in the order of their paths."""
        key = (self._trees.owner, self._tree, self._sources)
        known = self._memory.files.get(key)
        if known is None:
            tree = GitTree(self._trees, self._tree)
            known = tuple(
                CodeFile(entry.path, entry.id, entry.size, entry.kind is Kind.EXECUTABLE)
                for entry in filtered(tree, self._sources, _patterns(tree))
                if entry.kind in _TAKEN
            )
            self._memory.files.put(key, known, len(known))
        return known

    def read(self, blob: str) -> bytes:
        """The content of one blob."""
        return self._trees.objects.read_typed(blob, "blob")


def code_of(trees: Trees, tree: str, sources: tuple[str, ...], memory: CodeMemory) -> GitCode:
    """What is below `sources` less what `.clowdyignore` leaves out; raises Invalid for one that is refused."""
    view = GitTree(trees, tree)
    ignore = view.entry(IGNORE_FILE)
    walk = _Walk(trees, _patterns(view).matcher(), ignore.id if ignore else "default", memory)
    digest = hashlib.sha256()
    files = size = 0
    for source in outermost(sources):
        found = view.entry(source)
        if found is None or found.kind is not Kind.FOLDER:
            continue
        part = walk.part(found.id, "" if found.path == "." else f"{found.path}/")
        digest.update(os.fsencode(found.path) + b"\0" + part.digest + b"\0")
        files, size = files + part.files, size + part.bytes
    return GitCode(trees, tree, sources, Part(digest.digest(), files, size), memory)


@dataclass(frozen=True, slots=True)
class _Walk:
    trees: Trees
    matcher: Matcher
    patterns: str
    memory: CodeMemory

    def part(self, tree: str, prefix: str) -> Part:
        key = (self.trees.owner, tree, prefix, self.patterns)
        known = self.memory.parts.get(key)
        if known is not None:
            return known
        lines: list[bytes] = []
        blobs: list[str] = []
        files = size = 0
        for node in self.trees.nodes(tree):
            kind = node.kind
            if kind is Kind.FOLDER:
                inner = self.part(node.id, f"{prefix}{node.name}/")
                if inner.digest:
                    lines.append(b"folder " + os.fsencode(node.name) + b"\0" + inner.digest)
                    files, size = files + inner.files, size + inner.bytes
            elif not self.matcher.leaves_out(prefix + node.name):
                lines.append(f"{kind.value} ".encode() + os.fsencode(node.name) + b"\0" + bytes.fromhex(node.id))
                if kind in _TAKEN:
                    blobs.append(node.id)
        sizes = self.trees.objects.sizes(blobs)
        digest = hashlib.sha256(b"\0".join(lines)).digest() if lines else b""
        found = Part(digest, files + len(blobs), size + sum(sizes[blob] for blob in blobs))
        self.memory.parts.put(key, found, 1)
        return found


def _patterns(tree: GitTree) -> Ignore:
    try:
        return read_patterns(tree)
    except IgnoreError as error:
        raise Invalid(f"{IGNORE_FILE}:{error.line}: {error.message}") from None
