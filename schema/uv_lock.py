"""uv.lock: what a project's own entry needs, with the markers on the way there, as pins. Pure.

The file lists every package of every extra, group and platform. What a server installs is what can be reached from
the project's `dependencies`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from packaging.utils import canonicalize_name

from clowdy.schema.dependencies import Dependency, read_entries
from clowdy.schema.locks import FROM_AN_INDEX, FROM_THE_TREE, MOST_PINS, Pin, pin
from clowdy.schema.rejection import Rejection
from clowdy.schema.text import printable, quoted
from clowdy.schema.toml_places import TomlPlaces

FORMAT = 1
MOST_WAYS = 32
"""How many different conditions may lead to one package, and of how many markers each may be."""

_MOST_STEPS = 50_000

_CODE = "lock"
_TABLE = "[[package"
_FOLDERS = ("virtual", "editable", "directory")
_SOURCES = {
    "git": "a git repository",
    "url": "a URL",
    "path": "a file",
    "directory": "a folder",
    "editable": "a folder",
    "virtual": "a folder",
    "registry": "a folder",
}
_RULES = {
    "constraint-dependencies": "constraints",
    "override-dependencies": "overrides",
    "exclude-dependencies": "excludes",
}
_AGAIN = "make it again: uv lock"

Clause = frozenset[str]
"""Markers that must all hold."""


@dataclass(frozen=True, slots=True)
class UvLock:
    """What was read: the pins, and what the lock was made from.

    `direct` has the locked versions of each package that the project itself names, without those that no platform
    needs; `declared` is all that it declared, its extras too, or None where the file does not say; `rules` what was
    asked for beside it, by the keys of a pyproject.toml.
    """

    pins: tuple[Pin, ...]
    requires_python: str = ""
    direct: Mapping[str, frozenset[str]] = field(default_factory=dict)
    declared: tuple[Dependency, ...] | None = None
    rules: Mapping[str, tuple[Dependency, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Need:
    """One entry of a `dependencies` list."""

    name: str
    version: str
    extras: tuple[str, ...]
    marker: str


def read_uv_lock(values: Mapping[str, Any], places: TomlPlaces, project: str | None = None) -> UvLock:
    """The lock of the project called `project`, of the one at the lock's own folder otherwise.

    Whatever is wrong is reported to `places`.
    """
    version = values.get("version")
    if version != FORMAT:
        places.report(
            Rejection(
                _CODE, f"this uv.lock has format {printable(str(version), 20)}, this server reads {FORMAT}", _AGAIN
            ),
            key="version",
        )
        return UvLock(())
    try:
        return _Reader(values, places).read(project)
    except Rejection as rejection:
        places.report(rejection)
        return UvLock(())


class _Reader:
    def __init__(self, values: Mapping[str, Any], places: TomlPlaces) -> None:
        packages = values.get("package")
        if not isinstance(packages, list) or not all(
            isinstance(each, dict) and isinstance(each.get("name"), str) for each in packages
        ):
            raise Rejection(_CODE, "this uv.lock has no list of packages with names", _AGAIN)
        self._packages: Sequence[Mapping[str, Any]] = packages
        self._places = places
        self._requires_python = _text(values, "requires-python")
        manifest = _mapping(values, "manifest")
        self._rules = {key: read_entries(manifest.get(name)) for key, name in _RULES.items()}
        self._by_name: dict[str, list[int]] = {}
        for index, package in enumerate(packages):
            self._by_name.setdefault(canonicalize_name(package["name"]), []).append(index)

    def read(self, project: str | None) -> UvLock:
        root = self._root(project)
        reached = self._reach(root)
        pins: list[Pin] = []
        for index, ways in sorted(reached.items()):
            if index == root:
                continue
            package = self._packages[index]
            key = "source"
            try:
                _check_source(package)
                key = "name"
                pins.append(pin(package["name"], _text(package, "version"), list(_hashes(package)), _marker(ways)))
            except Rejection as rejection:
                self._places.report(rejection, _TABLE, index, key)
        direct: dict[str, frozenset[str]] = {}
        for need in self._needs(root, ""):
            versions = {_text(self._packages[index], "version") for index in self._meant(need)}
            direct[need.name] = direct.get(need.name, frozenset()) | versions
        return UvLock(tuple(pins), self._requires_python, direct, self._declared(root), self._rules)

    def _root(self, project: str | None) -> int:
        own = [
            index
            for index, package in enumerate(self._packages)
            if any(_mapping(package, "source").get(kind) == "." for kind in _FOLDERS)
        ]
        if project is not None and len(own) != 1:
            own = [index for index in own if canonicalize_name(self._packages[index]["name"]) == project]
        if len(own) != 1:
            found = "no entry" if not own else "several entries"
            raise Rejection(
                _CODE, f'this uv.lock has {found} for the project itself: source = {{ virtual = "." }}', _AGAIN
            )
        return own[0]

    def _reach(self, root: int) -> dict[int, set[Clause]]:
        """Every package that is needed, and the ways there: of each way all markers must hold."""
        nodes: dict[tuple[int, str], set[Clause]] = {(root, ""): {frozenset()}}
        waiting = deque(nodes)
        steps = 0
        while waiting:
            node = waiting.popleft()
            for need in self._needs(*node):
                added = {clause | {need.marker} if need.marker else clause for clause in nodes[node]}
                for index, extra in product(self._meant(need), ("", *need.extras)):
                    steps += 1
                    known = nodes.get((index, extra), set())
                    merged = _shortest(known | added)
                    self._bound(index, merged, len(nodes), steps)
                    if merged != known:
                        nodes[index, extra] = merged
                        waiting.append((index, extra))
        reached: dict[int, set[Clause]] = {}
        for (index, _), clauses in nodes.items():
            reached[index] = _shortest(reached.get(index, set()) | clauses)
        return reached

    def _bound(self, index: int, ways: set[Clause], nodes: int, steps: int) -> None:
        """Raises Rejection before a file that was made to be slow is."""
        if nodes > 2 * MOST_PINS or steps > _MOST_STEPS:
            raise Rejection(_CODE, f"this uv.lock needs more than {MOST_PINS} packages, or is too tangled")
        if len(ways) > MOST_WAYS or any(len(clause) > MOST_WAYS for clause in ways):
            raise Rejection(
                _CODE,
                f"{printable(self._packages[index]['name'], 60)} is needed under too many different conditions",
                "uv export --format pylock.toml -o pylock.toml, and name that file",
            )

    def _needs(self, index: int, extra: str) -> Iterator[_Need]:
        package = self._packages[index]
        listed = _mapping(package, "optional-dependencies").get(extra) if extra else package.get("dependencies")
        for entry in listed if isinstance(listed, list) else ():
            if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                extras = entry.get("extra", ())
                yield _Need(
                    canonicalize_name(entry["name"]),
                    _text(entry, "version"),
                    (extras,) if isinstance(extras, str) else tuple(each for each in extras if isinstance(each, str)),
                    _text(entry, "marker"),
                )

    def _meant(self, need: _Need) -> list[int]:
        indexes = self._by_name.get(need.name, [])
        if len(indexes) > 1 and need.version:
            indexes = [index for index in indexes if self._packages[index].get("version") == need.version]
        if not indexes:
            raise Rejection(_CODE, f"this uv.lock has no entry for {quoted(need.name)}, which is needed", _AGAIN)
        return indexes

    def _declared(self, root: int) -> tuple[Dependency, ...] | None:
        listed = _mapping(self._packages[root], "metadata").get("requires-dist")
        return read_entries(listed) if isinstance(listed, list) else None


def _check_source(package: Mapping[str, Any]) -> None:
    """Raises Rejection for what does not come from an index."""
    source, name = _mapping(package, "source"), printable(package["name"], 60)
    registry = source.get("registry")
    if isinstance(registry, str) and registry.startswith(("https://", "http://")):
        return
    key = next((key for key in _SOURCES if key in source), None)
    words = _SOURCES[key] if key is not None else "no index"
    where = printable(str(source[key]), 100) if key is not None else ""
    hint = FROM_THE_TREE if key in _FOLDERS else FROM_AN_INDEX
    raise Rejection(_CODE, f"{name} comes from {words}: {where}".rstrip(": "), hint)


def _shortest(clauses: set[Clause]) -> set[Clause]:
    """The same condition without the clauses that another one makes needless."""
    kept: set[Clause] = set()
    for clause in sorted(clauses, key=len):
        if not any(other <= clause for other in kept):
            kept.add(clause)
    return kept


def _marker(ways: set[Clause]) -> str:
    if frozenset() in ways:
        return ""
    if len(ways) == 1:
        (only,) = ways
        return _all_of(only)
    return " or ".join(sorted(_all_of(clause) if len(clause) == 1 else f"({_all_of(clause)})" for clause in ways))


def _all_of(clause: Clause) -> str:
    markers = sorted(clause)
    if len(markers) == 1:
        return markers[0]
    return " and ".join(f"({marker})" if " or " in marker else marker for marker in markers)


def _hashes(package: Mapping[str, Any]) -> Iterator[str]:
    wheels = package.get("wheels")
    for file in (package.get("sdist"), *(wheels if isinstance(wheels, list) else ())):
        hashed = file.get("hash") if isinstance(file, dict) else None
        if isinstance(hashed, str) and hashed.startswith("sha256:"):
            yield hashed.removeprefix("sha256:")


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def _text(values: Mapping[str, Any], key: str) -> str:
    found = values.get(key)
    return found if isinstance(found, str) else ""
