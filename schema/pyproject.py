"""What a pyproject.toml wants installed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from clowdy.schema.rejection import Rejection
from clowdy.schema.requirements import check_requirement
from clowdy.schema.text import printable, quoted
from clowdy.schema.toml_places import TomlPlaces
from clowdy.schema.uv_lock import UvLock

MOST_REQUIREMENTS = 2000
_CODE = "requirements"
_TABLE = "[project"


@dataclass(frozen=True, slots=True)
class Pyproject:
    """`name` is in its usual form; `dynamic` says that the dependencies are made by a build."""

    name: str | None
    dependencies: tuple[str, ...]
    requires_python: str = ""
    dynamic: bool = False


def read_pyproject(values: Mapping[str, Any], places: TomlPlaces, *, locked: bool = False) -> Pyproject:
    """The `[project]` table; what is wrong is reported to `places`. With a lock beside it dynamic ones are enough."""
    project = values.get("project")
    if not isinstance(project, dict):
        places.report(
            Rejection(
                _CODE, "pyproject.toml has no [project] table", "write [project] with name, version and dependencies"
            )
        )
        return Pyproject(None, ())
    name = project.get("name")
    listed, dynamic = project.get("dependencies", []), project.get("dynamic", [])
    is_dynamic = isinstance(dynamic, list) and "dependencies" in dynamic
    if is_dynamic and not locked:
        places.report(
            Rejection(
                _CODE,
                "the dependencies are dynamic: only a build knows them",
                "write them into [project], or make a lock: uv lock",
            ),
            _TABLE,
            key="dynamic",
        )
    dependencies: list[str] = []
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        places.report(Rejection(_CODE, "dependencies is not a list of texts"), _TABLE, key="dependencies")
    elif len(listed) > MOST_REQUIREMENTS:
        places.report(Rejection(_CODE, f"more than {MOST_REQUIREMENTS} dependencies"), _TABLE, key="dependencies")
    else:
        for each in listed:
            try:
                dependencies.append(check_requirement(each))
            except Rejection as rejection:
                # Sources that uv's own table gives a name are for development; the lock says where it came from.
                places.report(rejection, _TABLE, key="dependencies", value=each)
    requires = project.get("requires-python")
    return Pyproject(
        canonicalize_name(name) if isinstance(name, str) else None,
        tuple(dependencies),
        requires if isinstance(requires, str) else "",
        is_dynamic,
    )


def compare_with_lock(project: Pyproject, lock: UvLock, places: TomlPlaces) -> None:
    """Reports to `places`, those of the pyproject.toml, each dependency that the lock was not made for."""
    for line in project.dependencies:
        wanted = Requirement(line)
        name = canonicalize_name(wanted.name)
        versions = lock.direct.get(name, frozenset())
        if lock.named is not None and name not in lock.named:
            said = f"uv.lock does not know {quoted(wanted.name)}"
        elif versions and not any(wanted.specifier.contains(each, prereleases=True) for each in versions if each):
            locked = printable(" and ".join(sorted(versions)), 100)
            said = f"uv.lock has {name} {locked}, wanted is {quoted(line)}"
        else:
            continue
        places.report(Rejection("lock", said, "make the lock again: uv lock"), _TABLE, key="dependencies", value=line)
