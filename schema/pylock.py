"""pylock.toml, the lock that PEP 751 describes, as pins. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from clowdy.schema.dependencies import may_hold_on_linux
from clowdy.schema.locks import FROM_AN_INDEX, FROM_THE_TREE, MOST_PINS, Pin, pin
from clowdy.schema.rejection import Rejection
from clowdy.schema.text import printable
from clowdy.schema.toml_places import TomlPlaces

FILE = re.compile(r"pylock(\.[^.]+)?\.toml")
"""What such a file may be called."""

_CODE = "lock"
_TABLE = "[[packages"
_ELSEWHERE = {"vcs": "a repository", "directory": "a folder", "archive": "a URL or file"}
_CHOICE = re.compile(r"""(['"])([^'"]*)\1\s+(not\s+)?in\s+(extras|dependency_groups)\b""")
_ALWAYS, _NEVER = "python_version >= '0'", "python_version < '0'"


@dataclass(frozen=True, slots=True)
class Pylock:
    """What was read."""

    pins: tuple[Pin, ...]
    requires_python: str = ""


def read_pylock(values: Mapping[str, Any], places: TomlPlaces, python: str | None = None) -> Pylock:
    """The packages without extras and with the groups that are default; what is wrong is reported to `places`.

    `python` is what functions run with, where that is known.
    """
    version = values.get("lock-version")
    if not isinstance(version, str) or version.split(".")[0] != "1":
        said = "no lock-version" if version is None else f"lock-version {printable(str(version), 20)}"
        places.report(Rejection(_CODE, f"this lock has {said}, this server reads 1.0"), key="lock-version")
        return Pylock(())
    packages = values.get("packages")
    if not isinstance(packages, list) or len(packages) > MOST_PINS:
        found = "no list of packages" if not isinstance(packages, list) else f"more than {MOST_PINS} packages"
        places.report(Rejection(_CODE, f"this lock has {found}"))
        return Pylock(())
    environments = values.get("environments")
    markers = [each for each in environments if isinstance(each, str)] if isinstance(environments, list) else []
    if markers and not any(may_hold_on_linux(each, python) for each in markers):
        said = f"this lock was made for other environments: {printable(', '.join(markers), 100)}"
        places.report(Rejection(_CODE, said, "make it for Linux and the Python of the server"), key="environments")
        return Pylock(())
    groups = values.get("default-groups")
    chosen = frozenset(each for each in groups if isinstance(each, str)) if isinstance(groups, list) else frozenset()
    pins = []
    for index, package in enumerate(packages):
        try:
            found_pin = _pin(package, chosen)
            if found_pin is not None:
                _check_python(package, found_pin, python)
        except Rejection as rejection:
            places.report(rejection, _TABLE, index)
        else:
            pins += [found_pin] if found_pin is not None else []
    requires = values.get("requires-python")
    return Pylock(tuple(pins), requires if isinstance(requires, str) else "")


def _pin(package: Any, groups: frozenset[str]) -> Pin | None:
    """One package; None for the project's own entry."""
    if not isinstance(package, dict) or not isinstance(package.get("name"), str):
        raise Rejection(_CODE, "a package without a name")
    name = printable(package["name"], 60)
    for key, words in _ELSEWHERE.items():
        if key in package:
            source = package[key] if isinstance(package[key], dict) else {}
            if key == "directory" and source.get("path") in (".", "./"):
                return None
            where = source.get("url") or source.get("path") or ""
            raise Rejection(
                _CODE,
                f"{name} comes from {words}: {printable(str(where), 100)}".rstrip(": "),
                FROM_THE_TREE if key == "directory" else FROM_AN_INDEX,
            )
    version, marker = package.get("version"), package.get("marker", "")
    if not isinstance(version, str):
        raise Rejection(_CODE, f"{name} has no version")
    if not isinstance(marker, str):
        raise Rejection(_CODE, f"{name} has a marker that is no text")
    _check_files(package, name)
    return pin(package["name"], version, list(_hashes(package)), _without_choices(marker, groups))


def _check_files(package: Mapping[str, Any], name: str) -> None:
    """Raises Rejection for a package whose files all lie on somebody's disk."""
    places = [file.get("path") or file.get("url") for file in _files(package)]
    if places and all(places):
        raise Rejection(_CODE, f"{name} comes from a file: {printable(str(places[0]), 100)}", FROM_AN_INDEX)


def _check_python(package: Mapping[str, Any], pinned: Pin, python: str | None) -> None:
    """Raises Rejection for a package that is wanted here and is not for the Python here."""
    requires = package.get("requires-python")
    if python is None or not isinstance(requires, str) or not may_hold_on_linux(pinned.marker, python):
        return
    try:
        fits = SpecifierSet(requires).contains(python, prereleases=True)
    except InvalidSpecifier:
        fits = False
    if not fits:
        said = f"{pinned.name} is for Python {printable(requires, 60)}, functions of this server run with {python}"
        raise Rejection(_CODE, said)


def _without_choices(marker: str, groups: frozenset[str]) -> str:
    """The marker where no extra is asked for, and of the dependency groups only the default ones."""

    def decide(match: re.Match[str]) -> str:
        holds = (match[4] == "dependency_groups" and match[2] in groups) != bool(match[3])
        return _ALWAYS if holds else _NEVER

    return _CHOICE.sub(decide, marker)


def _hashes(package: Mapping[str, Any]) -> Iterator[str]:
    for file in _files(package):
        hashes = file.get("hashes")
        found = hashes.get("sha256") if isinstance(hashes, dict) else None
        if isinstance(found, str):
            yield found.lower()


def _files(package: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What the lock says of each file; of its place only what is not on the web."""
    wheels = package.get("wheels")
    for file in (package.get("sdist"), *(wheels if isinstance(wheels, list) else ())):
        if isinstance(file, dict):
            yield file
