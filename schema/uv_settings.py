"""`[tool.uv]` of a pyproject.toml: what changes where packages come from, or which versions are taken. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.utils import canonicalize_name

from clowdy.schema.dependencies import index_url, may_hold_on_linux
from clowdy.schema.rejection import Rejection
from clowdy.schema.text import printable
from clowdy.schema.toml_places import TomlPlaces

TABLE = "[tool.uv"
RULES = ("constraint-dependencies", "override-dependencies", "exclude-dependencies")
"""Keys with lists of what is asked for beside the dependencies; a lock keeps them."""

_CHOICES = ("resolution", "prerelease", "exclude-newer", "exclude-newer-package", "dependency-metadata")
_INDEX = "index"
_ARCHIVES = (".whl", ".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst")
_KINDS = {
    "git": "a git repository",
    "url": "a URL",
    "path": "a file or folder",
    "workspace": "the workspace",
    _INDEX: "the index",
}


@dataclass(frozen=True, slots=True)
class UvSource:
    """Where one dependency comes from instead of the usual index; `always` where no condition is set.

    `index` is the URL of an index of its own, empty for one that this file does not describe, and None for what comes
    from no index. `folder` says that it is one of source code, in the workspace or elsewhere.
    """

    key: str
    words: str
    index: str | None
    always: bool
    folder: bool = False


@dataclass(frozen=True, slots=True)
class UvSettings:
    """What was read: sources by the usual form of their package's name, and each list of `RULES` that is set."""

    sources: Mapping[str, tuple[UvSource, ...]] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)
    choices: tuple[str, ...] = ()


def read_uv_settings(values: Mapping[str, Any]) -> UvSettings:
    """`[tool.uv]`, without what is for an extra, a group or another system than Linux."""
    tool = values.get("tool")
    found = tool.get("uv") if isinstance(tool, dict) else None
    if not isinstance(found, dict):
        return UvSettings()
    listed = found.get("index")
    indexes = {
        each["name"]: each["url"]
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict) and isinstance(each.get("name"), str) and isinstance(each.get("url"), str)
    }
    sources = found.get("sources")
    read = {
        canonicalize_name(name): tuple(_sources(name, each, indexes))
        for name, each in (sources.items() if isinstance(sources, dict) else ())
    }
    return UvSettings(
        {name: each for name, each in read.items() if each},
        {key: found[key] for key in RULES if found.get(key)},
        tuple(key for key in _CHOICES if found.get(key)),
    )


def _sources(key: str, listed: Any, indexes: Mapping[str, str]) -> Iterator[UvSource]:
    for each in listed if isinstance(listed, list) else (listed,):
        if not isinstance(each, dict) or "extra" in each or "group" in each:
            continue
        kind = next((kind for kind in _KINDS if kind in each), None)
        marker = each.get("marker")
        if kind is None or (isinstance(marker, str) and not may_hold_on_linux(marker)):
            continue
        where = each[kind] if isinstance(each[kind], str) else ""
        words = f"{_KINDS[kind]}: {printable(where, 100)}".removesuffix(": ")
        index = index_url(indexes.get(where, "")) if kind == _INDEX else None
        folder = kind == "workspace" or (kind == "path" and not where.endswith(_ARCHIVES))
        yield UvSource(key, words, index, not marker, folder)


def report_source(places: TomlPlaces, source: UvSource, rejection: Rejection) -> None:
    """Reports it where that source is written."""
    sources = f"{TABLE}.sources"
    own = f"{sources}.{source.key}"
    if places.has(own):
        places.report(rejection, own)
    else:
        places.report(rejection, sources, key=source.key)
