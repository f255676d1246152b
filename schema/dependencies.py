"""Dependencies as a project declares them, compared by what they mean. Pure.

uv writes what it read in another form: `python_version < '3.13'` becomes `python_full_version < '3.13'`, conditions
are put in order, and what can never hold is kept as such. So conditions are equal when they hold in the same places.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

_CREDENTIALS = re.compile(r"(?<=://)[^/\s?#@]*@")
_ELSEWHERE = ("git", "url", "path", "directory", "editable", "virtual")
_LONGEST_MARKER = 4000
_MOST_PATCHES = 8
_MINORS = tuple(f"3.{minor}.0" for minor in range(8, 18))
_PATCH = re.compile(r"(?<![\d.])3\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_PLATFORMS = (
    ("linux", "posix", "Linux", "x86_64", "CPython"),
    ("linux", "posix", "Linux", "aarch64", "CPython"),
    ("linux", "posix", "Linux", "x86_64", "PyPy"),
    ("darwin", "posix", "Darwin", "arm64", "CPython"),
    ("win32", "nt", "Windows", "AMD64", "CPython"),
)
_LINUX = [index for index, platform in enumerate(_PLATFORMS) if platform[0] == "linux"]

Meaning = tuple[str, frozenset[str], SpecifierSet, str, tuple[bool, ...]]


@dataclass(frozen=True, slots=True)
class Dependency:
    """One entry; `name` in its usual form. `source` is the URL of its own index, or what else it comes from."""

    name: str
    extras: frozenset[str] = frozenset()
    specifier: SpecifierSet = field(default_factory=SpecifierSet)
    marker: str = ""
    source: str = ""

    def __str__(self) -> str:
        extras = f"[{','.join(sorted(self.extras))}]" if self.extras else ""
        return f"{self.name}{extras}{self.specifier}" + (f"; {self.marker}" if self.marker else "")


def read_line(line: str, source: str = "") -> Dependency:
    """That of a requirement which `check_requirement` let through."""
    found = Requirement(line)
    return Dependency(
        canonicalize_name(found.name),
        frozenset(canonicalize_name(extra) for extra in found.extras),
        found.specifier,
        str(found.marker) if found.marker else "",
        source,
    )


def read_lines(lines: Any) -> tuple[Dependency, ...]:
    """Those of a list in somebody's file; what cannot be read is passed over."""
    found = []
    for line in lines if isinstance(lines, list) else ():
        try:
            found.append(read_line(line))
        except (InvalidRequirement, TypeError, ValueError, RecursionError):
            continue
    return tuple(found)


def read_entries(entries: Any) -> tuple[Dependency, ...]:
    """Those of a list of uv.lock, tables or names alone; what cannot be read is passed over."""
    found = []
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, str):
            found.append(Dependency(canonicalize_name(entry)))
            continue
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            continue
        extras, index = entry.get("extras"), entry.get("index")
        elsewhere = next((key for key in _ELSEWHERE if key in entry), "")
        try:
            found.append(
                Dependency(
                    canonicalize_name(entry["name"]),
                    frozenset(canonicalize_name(each) for each in extras or () if isinstance(each, str)),
                    SpecifierSet(entry.get("specifier", "")),
                    str(entry.get("marker", "")),
                    index_url(index) if isinstance(index, str) else elsewhere,
                )
            )
        except (InvalidSpecifier, AttributeError, TypeError, ValueError):
            continue
    return tuple(found)


def index_url(url: str) -> str:
    """The URL of an index as two files can be compared by it."""
    return _CREDENTIALS.sub("", url).rstrip("/")


def differing(
    one: Iterable[Dependency], other: Iterable[Dependency]
) -> tuple[tuple[Dependency, ...], tuple[Dependency, ...]]:
    """What `one` has and `other` has not, and the other way round, extras of the project itself left out."""
    mine, theirs = tuple(one), tuple(other)
    pythons = _pythons((*mine, *theirs))
    first, second = _meanings(mine, pythons), _meanings(theirs, pythons)
    return (
        tuple(each for meaning, each in first.items() if meaning not in second),
        tuple(each for meaning, each in second.items() if meaning not in first),
    )


def may_hold_on_linux(marker: str, python: str | None = None) -> bool:
    """False for what is only there on other systems, or for other Pythons than `python`."""
    if not marker:
        return True
    pythons = (python,) if python is not None else _pythons((Dependency("", marker=marker),))
    table = _table(marker, pythons)
    return any(table[index * len(pythons) + place] for index in _LINUX for place in range(len(pythons)))


def _meanings(dependencies: Sequence[Dependency], pythons: Sequence[str]) -> Mapping[Meaning, Dependency]:
    always = (True,) * (len(pythons) * len(_PLATFORMS))
    found: dict[Meaning, Dependency] = {}
    for each in dependencies:
        table = _table(each.marker, pythons) if each.marker else always
        if any(table):
            found[each.name, each.extras, each.specifier, each.source, table] = each
    return found


def _pythons(dependencies: Iterable[Dependency]) -> tuple[str, ...]:
    """Every minor version, and around each patch that a condition tells from others."""
    named = sorted({match.groups() for each in dependencies for match in _PATCH.finditer(each.marker)})
    near = (f"3.{minor}.{int(patch) + step}" for minor, patch in named[:_MOST_PATCHES] for step in (0, 1))
    return tuple(dict.fromkeys((*_MINORS, *near)))


def _table(marker: str, pythons: Sequence[str]) -> tuple[bool, ...]:
    """Where the marker holds; everywhere for one that cannot be decided, so that nobody is refused for it."""
    try:
        if len(marker) > _LONGEST_MARKER:
            raise ValueError(marker)
        parsed = Marker(marker)
        return tuple(parsed.evaluate(_environment(platform, python)) for platform in _PLATFORMS for python in pythons)
    except (InvalidMarker, UndefinedComparison, UndefinedEnvironmentName, ValueError, RecursionError):
        return (True,) * (len(pythons) * len(_PLATFORMS))


def _environment(platform: tuple[str, str, str, str, str], python: str) -> dict[str, str]:
    system, name, called, machine, implementation = platform
    return {
        "implementation_name": implementation.lower(),
        "implementation_version": python,
        "os_name": name,
        "platform_machine": machine,
        "platform_python_implementation": implementation,
        "platform_release": "6.1.0",
        "platform_system": called,
        "platform_version": "1",
        "python_full_version": python,
        "python_version": ".".join(python.split(".")[:2]),
        "sys_platform": system,
        "extra": "",
    }
