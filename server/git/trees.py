"""Trees of a repository: what a path is, all that is below a folder, and how much there is in all.

Subtrees are remembered by their id, so that a push which changes one file of many looks at that file's folders only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from dulwich.errors import ObjectFormatException
from dulwich.objects import parse_tree

from clowdy.hooks.tree import Entry, Kind
from clowdy.server.config import PushLimits
from clowdy.server.errors import GitError, Invalid
from clowdy.server.git.memory import Bounded
from clowdy.server.git.objects import Objects
from clowdy.server.git.settings import shown_size

NAME_BYTES = 255
PATH_BYTES = 3000
DEEPEST = 500

_KINDS = {
    0o100644: Kind.FILE,
    0o100664: Kind.FILE,
    0o100755: Kind.EXECUTABLE,
    0o120000: Kind.SYMLINK,
    0o160000: Kind.SUBMODULE,
    0o040000: Kind.FOLDER,
}
_WITH_CONTENT = (Kind.FILE, Kind.EXECUTABLE)


class Node(NamedTuple):
    """One line of a tree object."""

    name: str
    mode: int
    id: str

    @property
    def kind(self) -> Kind:
        """What it is. Modes that git never writes count as files."""
        return _KINDS.get(self.mode, Kind.FILE)


class TreeTotals(NamedTuple):
    """What is below a tree; links and submodules count as files, `longest` is the longest path in bytes."""

    files: int
    bytes: int
    depth: int
    folders: int
    longest: int


@dataclass(slots=True)
class TreeMemory:
    """What is remembered of the trees of all repositories, each under its owner's key."""

    nodes: Bounded[tuple[str, str], tuple[Node, ...]] = field(default_factory=lambda: Bounded(100_000))
    entries: Bounded[tuple[str, str, str], tuple[Entry, ...]] = field(default_factory=lambda: Bounded(300_000))
    totals: Bounded[tuple[str, str], TreeTotals] = field(default_factory=lambda: Bounded(100_000))


class Trees:
    """The trees of one object store. Blocking, safe from any thread."""

    def __init__(self, owner: str, objects: Objects, memory: TreeMemory) -> None:
        self.owner = owner
        self.objects = objects
        self.memory = memory

    def nodes(self, tree: str) -> tuple[Node, ...]:
        """The lines of one tree object, in git's order."""
        key = (self.owner, tree)
        known = self.memory.nodes.get(key)
        if known is not None:
            return known
        try:
            nodes = tuple(
                Node(name.decode("utf-8", "surrogateescape"), mode, oid.decode())
                for name, mode, oid in parse_tree(self.objects.read_typed(tree, "tree"), 20)
            )
        except (ObjectFormatException, ValueError) as error:
            raise GitError(f"tree {tree} cannot be read: {error}") from None
        self.memory.nodes.put(key, nodes, len(nodes))
        return nodes

    def below(self, tree: str, prefix: str) -> tuple[Entry, ...]:
        """Every file, link and submodule of a tree in the order of their paths, each path behind `prefix`."""
        known = self.memory.entries.get((self.owner, tree, prefix))
        if known is not None:
            return known
        sizes = self.objects.sizes(self._unweighed(tree, prefix))
        return self._collect(tree, prefix, 0, sizes)

    def totals(self, tree: str, limits: PushLimits) -> TreeTotals:
        """What is below a tree; raises Invalid, in bounded time, when it is over the limits or cannot be laid out."""
        known = self.memory.totals.get((self.owner, tree))
        if known is None:
            sizes = self.objects.sizes(self._distinct_files(tree, limits))
            known = self._total(tree, limits, 0, sizes)
        _within(known, limits)
        return known

    def _unweighed(self, tree: str, prefix: str) -> list[str]:
        blobs: dict[str, None] = {}
        stack = [(tree, prefix)]
        while stack:
            folder, path = stack.pop()
            if self.memory.entries.get((self.owner, folder, path)) is not None:
                continue
            for node in self.nodes(folder):
                if node.kind is Kind.FOLDER:
                    stack.append((node.id, f"{path}{node.name}/"))
                elif node.kind in _WITH_CONTENT:
                    blobs[node.id] = None
        return list(blobs)

    def _collect(self, tree: str, prefix: str, depth: int, sizes: dict[str, int]) -> tuple[Entry, ...]:
        key = (self.owner, tree, prefix)
        known = self.memory.entries.get(key)
        if known is not None:
            return known
        if depth > DEEPEST:
            raise GitError(f"tree {tree} has more than {DEEPEST} levels")
        entries: list[Entry] = []
        for node in self.nodes(tree):
            kind = node.kind
            if kind is Kind.FOLDER:
                entries.extend(self._collect(node.id, f"{prefix}{node.name}/", depth + 1, sizes))
            else:
                size = self._size(node, sizes) if kind in _WITH_CONTENT else 0
                entries.append(Entry(prefix + node.name, kind, node.id, size))
        found = tuple(entries)
        self.memory.entries.put(key, found, len(found))
        return found

    def _distinct_files(self, tree: str, limits: PushLimits) -> list[str]:
        # Level by level and never the same folder twice: however often folders repeat, each distinct one stands for
        # at least one place of the whole tree, so a tree that fits is never cut here and a bomb costs what it holds.
        blobs: dict[str, None] = {}
        level = [tree]
        seen = {tree}
        lines = 0
        for _ in range(limits.depth):
            following: list[str] = []
            for folder in level:
                nodes = self.nodes(folder)
                lines += len(nodes)
                if lines > 2 * limits.files:
                    raise Invalid(_too_many(limits))
                for node in nodes:
                    if node.kind is not Kind.FOLDER:
                        if node.kind in _WITH_CONTENT:
                            blobs[node.id] = None
                    elif node.id not in seen and self.memory.totals.get((self.owner, node.id)) is None:
                        seen.add(node.id)
                        following.append(node.id)
            level = following
        return list(blobs)

    def _total(self, tree: str, limits: PushLimits, depth: int, sizes: dict[str, int]) -> TreeTotals:
        key = (self.owner, tree)
        known = self.memory.totals.get(key)
        if known is not None:
            return known
        if depth >= limits.depth:
            raise Invalid(_too_deep(limits))
        files = size = levels = folders = longest = 0
        for node in self.nodes(tree):
            length = _judge(node)
            if node.kind is Kind.FOLDER:
                inner = self._total(node.id, limits, depth + 1, sizes)
                files, size = files + inner.files, size + inner.bytes
                levels, folders = max(levels, 1 + inner.depth), folders + 1 + inner.folders
                longest = max(longest, length + 1 + inner.longest)
            else:
                files, levels, longest = files + 1, max(levels, 1), max(longest, length)
                size += self._size(node, sizes) if node.kind in _WITH_CONTENT else 0
        totals = TreeTotals(files, size, levels, folders, longest)
        _within(totals, limits)
        self.memory.totals.put(key, totals, 1)
        return totals

    def _size(self, node: Node, sizes: dict[str, int]) -> int:
        size = sizes.get(node.id)
        return self.objects.sizes([node.id])[node.id] if size is None else size


def _judge(node: Node) -> int:
    if node.mode not in _KINDS:
        raise Invalid(f"{_shown(node.name)} has the mode {node.mode:o}, which is neither file nor folder")
    name = node.name.encode("utf-8", "surrogateescape")
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name or name.lower() == b".git":
        raise Invalid(f"{_shown(node.name)} is not a name that a file can have")
    if len(name) > NAME_BYTES:
        raise Invalid(f"{_shown(node.name)} is a name of {len(name)} bytes, at most {NAME_BYTES} are possible")
    return len(name)


def _within(totals: TreeTotals, limits: PushLimits) -> None:
    if totals.files > limits.files or totals.folders > limits.files:
        raise Invalid(_too_many(limits))
    if totals.bytes > limits.unpacked_bytes:
        raise Invalid(f"the tree is larger than {shown_size(limits.unpacked_bytes)} unpacked")
    if totals.depth > limits.depth:
        raise Invalid(_too_deep(limits))
    if totals.longest > PATH_BYTES:
        raise Invalid(f"a path of {totals.longest} bytes is too long, at most {PATH_BYTES} are possible")


def _too_many(limits: PushLimits) -> str:
    return f"the tree has more than {limits.files:,} files"


def _too_deep(limits: PushLimits) -> str:
    return f"the tree has more than {limits.depth} levels"


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 60 else f"{name[:60]}...")


class GitTree:
    """One tree as the checks see it (`hooks.tree.TreeView`). Links are never followed."""

    def __init__(self, trees: Trees, oid: str) -> None:
        self.id = oid
        self._trees = trees

    def entry(self, path: str) -> Entry | None:
        """What stands at `path`, or None."""
        parts = [part for part in path.split("/") if part != "."] if path else []
        if not parts:
            return Entry(".", Kind.FOLDER, self.id, 0)
        node = Node(".", 0o040000, self.id)
        for part in parts:
            if node.kind is not Kind.FOLDER:
                return None
            found = next((each for each in self._trees.nodes(node.id) if each.name == part), None)
            if found is None:
                return None
            node = found
        size = self._trees.objects.sizes([node.id])[node.id] if node.kind in _WITH_CONTENT else 0
        return Entry("/".join(parts), node.kind, node.id, size)

    def walk(self, folder: str = ".") -> Iterator[Entry]:
        """Every file, symlink and submodule below `folder` in the order of their paths."""
        found = self.entry(folder)
        if found is None or found.kind is not Kind.FOLDER:
            return iter(())
        return iter(self._trees.below(found.id, "" if found.path == "." else f"{found.path}/"))

    def read(self, entry: Entry, limit: int) -> bytes:
        """The content of a file; raises ValueError when it has more than `limit` bytes."""
        size = self._trees.objects.sizes([entry.id])[entry.id]
        if size > limit:
            raise ValueError(f"{entry.path} has {size} bytes, more than {limit}")
        return self._trees.objects.read_typed(entry.id, "blob")

    def nodes(self, tree: str) -> tuple[Node, ...]:
        """The lines of a tree below this one."""
        return self._trees.nodes(tree)
