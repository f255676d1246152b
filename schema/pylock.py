"""pylock.toml, the lock that PEP 751 describes, as pins. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clowdy.schema.locks import MOST_PINS, Pin, pin
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


def read_pylock(values: Mapping[str, Any], places: TomlPlaces) -> Pylock:
    """The packages without extras and with the groups that are default; what is wrong is reported to `places`."""
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
    groups = values.get("default-groups")
    chosen = frozenset(each for each in groups if isinstance(each, str)) if isinstance(groups, list) else frozenset()
    pins = []
    for index, package in enumerate(packages):
        try:
            found_pin = _pin(package, chosen)
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
                "install it from the index, or put its code into the repository",
            )
    version, marker = package.get("version"), package.get("marker", "")
    if not isinstance(version, str):
        raise Rejection(_CODE, f"{name} has no version")
    if not isinstance(marker, str):
        raise Rejection(_CODE, f"{name} has a marker that is no text")
    return pin(package["name"], version, list(_hashes(package)), _without_choices(marker, groups))


def _without_choices(marker: str, groups: frozenset[str]) -> str:
    """The marker where no extra is asked for, and of the dependency groups only the default ones."""

    def decide(match: re.Match[str]) -> str:
        holds = (match[4] == "dependency_groups" and match[2] in groups) != bool(match[3])
        return _ALWAYS if holds else _NEVER

    return _CHOICE.sub(decide, marker)


def _hashes(package: Mapping[str, Any]) -> Iterator[str]:
    wheels = package.get("wheels")
    for file in (package.get("sdist"), *(wheels if isinstance(wheels, list) else ())):
        hashes = file.get("hashes") if isinstance(file, dict) else None
        found = hashes.get("sha256") if isinstance(hashes, dict) else None
        if isinstance(found, str):
            yield found.lower()
