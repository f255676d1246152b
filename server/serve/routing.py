"""Which route answers a request: compiled once when a release goes live, then only looked up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from clowdy.schema.manifest import RouteSpec

ANY = "ANY"
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
# What ANY does not stand for: OPTIONS is answered by the gateway, the others concern the connection, not the function.
_NEVER = frozenset({"CONNECT", "TRACE", "OPTIONS"})
_ALL_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class BadPath(ValueError):
    """The path is not valid"""


class Match(NamedTuple):
    """The route of a request and the values of its parameters, decoded. `method` is what the function sees."""

    route: RouteSpec
    params: dict[str, str]
    method: str


class MethodNotAllowed(NamedTuple):
    """The path has routes, but none for this method; `allow` is what the header of that name says."""

    allow: str


class _Leaf(NamedTuple):
    """A route, the names of its parameters in the order of its path, and whether the last takes the rest."""

    route: RouteSpec
    names: tuple[str, ...]


@dataclass(slots=True)
class _Node:
    """What may follow one beginning of a path."""

    literal: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    here: dict[str, _Leaf] = field(default_factory=dict)
    rest: dict[str, _Leaf] = field(default_factory=dict)


class RouteTable:
    """The routes of one release. A literal segment wins over `:name`, that over `*name`; the method beats ANY."""

    __slots__ = ("_literal", "_root")

    def __init__(self, root: _Node, literal: Mapping[str, Mapping[str, _Leaf]]) -> None:
        self._root = root
        self._literal = literal

    @classmethod
    def compile(cls, routes: Iterable[RouteSpec]) -> RouteTable:
        """The table of `routes`, which are trusted to be free of duplicates. Their order does not matter."""
        root = _Node()
        literal: dict[str, Mapping[str, _Leaf]] = {}
        for route in routes:
            node = root
            names: list[str] = []
            target = None
            for segment in _segments(route.path):
                if segment.startswith("*"):
                    names.append(segment[1:])
                    target = node.rest
                    break
                if segment.startswith(":"):
                    names.append(segment[1:])
                    node.parameter = node.parameter or _Node()
                    node = node.parameter
                else:
                    node = node.literal.setdefault(segment, _Node())
            if target is None:
                target = node.here
                if not names and "%" not in route.path:
                    literal[route.path] = target
            target[route.method] = _Leaf(route, tuple(names))
        return cls(root, literal)

    def match(self, method: str, path: str) -> Match | MethodNotAllowed | None:
        """The route for `method` and the path as it was sent, still percent-encoded; None when no path matches.

        Raises BadPath when a segment is not percent-encoded UTF-8 or holds a NUL.
        """
        if method == "HEAD":
            # The function sees GET, since it was written for that; the gateway drops the body.
            method = "GET"
        # Most requests name a path without parameters, and then no other route can be more specific.
        leaves = self._literal.get(path)
        if leaves is not None:
            leaf = leaves.get(method)
            if leaf is not None:
                return Match(leaf.route, {}, method)
        return _find(self._root, [decode(segment) for segment in _segments(path)], method)


def _segments(path: str) -> list[str]:
    """The segments of `path`. One trailing slash is ignored; others make empty segments, which no `:name` takes."""
    if path.endswith("/"):
        path = path[:-1]
    return path[1:].split("/") if path else []


def _find(root: _Node, segments: Sequence[str], method: str) -> Match | MethodNotAllowed | None:
    """The most specific route that takes path and method.

    Each node stands for one beginning of a path, so that none is visited twice: a request costs at most the size
    of the table, whatever its path.
    """
    offered: list[Mapping[str, _Leaf]] = []
    # What was pushed last is looked at first. A stack of its own, since a manifest may nest deeper than Python does.
    pending: list[tuple[_Node, int, tuple[str, ...], bool]] = [(root, 0, (), False)]
    while pending:
        node, at, values, resting = pending.pop()
        leaves: Mapping[str, _Leaf] = {}
        if resting:
            leaves = node.rest
            values = (*values, "/".join(segments[at:]))
        else:
            if node.rest:
                pending.append((node, at, values, True))
            if at == len(segments):
                leaves = node.here
            else:
                segment = segments[at]
                if node.parameter is not None and segment:
                    pending.append((node.parameter, at + 1, (*values, segment), False))
                following = node.literal.get(segment)
                if following is not None:
                    pending.append((following, at + 1, values, False))
        if leaves:
            found = _choose(leaves, method, values)
            if found is not None:
                return found
            offered.append(leaves)
    return MethodNotAllowed(_allow(offered)) if offered else None


def _choose(leaves: Mapping[str, _Leaf], method: str, values: Sequence[str]) -> Match | None:
    leaf = leaves.get(method)
    if leaf is None and method not in _NEVER:
        leaf = leaves.get(ANY)
    if leaf is None:
        return None
    return Match(leaf.route, dict(zip(leaf.names, values, strict=True)), method)


def _allow(offered: Iterable[Mapping[str, _Leaf]]) -> str:
    methods = {method for leaves in offered for method in leaves}
    if ANY in methods:
        return ", ".join((*_ALL_METHODS, "OPTIONS"))
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join([method for method in _ALL_METHODS if method in methods] + ["OPTIONS"])


def decode(segment: str) -> str:
    """One segment of a path, percent-decoded; raises BadPath when it is not valid UTF-8 or holds a NUL."""
    if segment.isascii() and "%" not in segment:
        return segment
    position = segment.find("%")
    while position >= 0:
        if len(segment) < position + 3 or not _HEXADECIMAL.issuperset(segment[position + 1 : position + 3]):
            raise BadPath("the path has a % that begins no escape: write it as %25")
        position = segment.find("%", position + 3)
    try:
        # aiohttp hands bytes that are no UTF-8 on as surrogates.
        text = unquote_to_bytes(segment.encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError:
        raise BadPath("the path is not UTF-8") from None
    if "\0" in text:
        raise BadPath("the path has a NUL")
    return text
