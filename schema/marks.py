"""Where each key and value of a manifest stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from clowdy.schema.nodes import Entry, Mapping, Node, Scalar, Sequence, Unreadable
from clowdy.schema.problems import Problem
from clowdy.schema.source import Source

Path = tuple[str | int, ...]


class Place(NamedTuple):
    """From where to where in the text."""

    start: int
    end: int


class Repetition(NamedTuple):
    """A key that stands a second time in the mapping at `path`."""

    path: Path
    entry: Entry
    first: Entry


class Marks:
    """Paths such as `("functions", "hello", "timeout")`, a number being a place in a list, and where they stand."""

    def __init__(self, source: Source, root: Node | None) -> None:
        self._source = source
        self._root = root

    def node(self, path: Path) -> Node | None:
        """The value at `path`, or None where there is none."""
        node = self._root
        for step in path:
            found = _step(node, step)
            if found is None:
                return None
            node = found[1]
        return node

    def text(self, path: Path) -> str | None:
        """A value as it is written, without its quotes; None where there is none or it is a list or mapping."""
        node = self.node(path)
        return node.text if isinstance(node, Scalar) else None

    def position(self, path: Path, *, key: bool = False) -> tuple[int, int]:
        """Line and column where `problem` would place a problem with the value at `path`, or with its key."""
        return self._source.place(self._place(path, key=key).start)

    def problem(self, path: Path, code: str, message: str, hint: str = "", *, key: bool = False) -> Problem:
        """A problem with the value at `path`, or with its key.

        What does not stand in the file is placed at the key that it would stand below; what concerns the whole file
        at 1:1. A mapping or a list is placed at its key as well, since its first line says nothing about it.
        """
        place = self._place(path, key=key)
        if place == _TOP:
            return self._source.whole(code, message, hint)
        return self._source.problem(place.start, place.end, code, message, hint)

    def key_problem(self, entry: Entry, code: str, message: str, hint: str = "") -> Problem:
        """A problem with the key of `entry`, which `path` cannot name: it is not the first of that name."""
        return self._source.problem(entry.key.start, entry.key.end, code, message, hint)

    def value_problem(self, value: Scalar, code: str, message: str, hint: str = "") -> Problem:
        """A problem with a value that `path` cannot name: its key is not the first of that name."""
        return self._source.problem(value.start, value.end, code, message, hint)

    def key_line(self, entry: Entry) -> int:
        """The line of the key of `entry`."""
        return self._source.place(entry.key.start)[0]

    def data(self) -> tuple[Any, list[Repetition], list[Path]]:
        """The whole as JSON values, every repeated key, and the paths of what could not be read (None stands there)."""
        repetitions: list[Repetition] = []
        unreadable: list[Path] = []
        return _data(self._root, (), repetitions, unreadable), repetitions, unreadable

    def _place(self, path: Path, *, key: bool) -> Place:
        node, place = self._root, _TOP
        for step in path:
            found = _step(node, step)
            if found is None:
                return place
            key_node, node = found
            place = Place(key_node.start, key_node.end) if key_node is not None else _of_item(node)
        if not key and isinstance(node, Scalar | Unreadable) and node.end > node.start and path:
            return Place(node.start, node.end)
        return place


_TOP = Place(0, 0)


def _step(node: Node | None, step: str | int) -> tuple[Scalar | None, Node] | None:
    """Key, where it has one, and value of one step into `node`."""
    if isinstance(node, Mapping) and isinstance(step, str) and step in node.entries:
        entry = node.entries[step]
        return entry.key, entry.value
    if isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
        return None, node.items[step]
    return None


def _of_item(node: Node) -> Place:
    if isinstance(node, Mapping):
        first: Iterator[Entry] = iter(node.entries.values())
        entry = next(first, None)
        if entry is not None and entry.key.start == node.start:
            return Place(entry.key.start, entry.key.end)
        return Place(node.start, node.start + 1)
    if isinstance(node, Sequence):
        return Place(node.start, node.start + 1)
    return Place(node.start, max(node.end, node.start + 1))


def _data(node: Node | None, path: Path, repetitions: list[Repetition], unreadable: list[Path]) -> Any:
    # As deep as the reader allowed, so recursion is safe.
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return [_data(item, (*path, index), repetitions, unreadable) for index, item in enumerate(node.items)]
    if isinstance(node, Mapping):
        repetitions += [Repetition(path, entry, node.entries[entry.key.text]) for entry in node.repeated]
        return {
            name: _data(entry.value, (*path, name), repetitions, unreadable) for name, entry in node.entries.items()
        }
    if isinstance(node, Unreadable):
        unreadable.append(path)
    return None
