"""What a pyproject.toml wants installed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from clowdy.schema.dependencies import Dependency, differing, read_line, read_lines
from clowdy.schema.locks import FROM_AN_INDEX, FROM_THE_TREE
from clowdy.schema.rejection import Rejection
from clowdy.schema.requirements import check_requirement
from clowdy.schema.text import printable, quoted
from clowdy.schema.toml_places import TomlPlaces
from clowdy.schema.uv_lock import UvLock
from clowdy.schema.uv_settings import RULES, UvSettings, UvSource, read_uv_settings, report_source
from clowdy.schema.uv_settings import TABLE as UV_TABLE

MOST_REQUIREMENTS = 2000
_CODE = "requirements"
_TABLE = "[project"
_MOST_CONDITIONS = 64 * 1024
_POETRY = "[tool.poetry"
_OF_POETRY = (
    "write the dependencies into [project], which Poetry 2 reads, or name the requirements.txt of "
    "poetry export --without-hashes -o requirements.txt (with poetry-plugin-export)"
)
_AGAIN = "make the lock again: uv lock"


@dataclass(frozen=True, slots=True)
class Pyproject:
    """`name` is in its usual form; `dynamic` says that the dependencies are made by a build."""

    name: str | None
    dependencies: tuple[str, ...]
    requires_python: str = ""
    dynamic: bool = False
    uv: UvSettings = field(default_factory=UvSettings)


def read_pyproject(values: Mapping[str, Any], places: TomlPlaces, *, locked: bool = False) -> Pyproject:
    """The `[project]` table; what is wrong is reported to `places`. With a lock beside it dynamic ones are enough."""
    project = values.get("project")
    if not isinstance(project, dict):
        hint, table = "write [project] with name, version and dependencies", ""
        tool = values.get("tool")
        if isinstance(tool, dict) and "poetry" in tool:
            hint, table = _OF_POETRY, _POETRY if places.has(_POETRY) else ""
        places.report(Rejection(_CODE, "pyproject.toml has no [project] table", hint), table)
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
                places.report(rejection, _TABLE, key="dependencies", value=each)
    settings = read_uv_settings(values)
    own = canonicalize_name(name) if isinstance(name, str) else None
    if not locked:
        _report_what_only_a_lock_has(own, tuple(dependencies), settings, places)
    requires = project.get("requires-python")
    return Pyproject(
        own,
        tuple(dependencies),
        requires if isinstance(requires, str) else "",
        is_dynamic,
        settings,
    )


def _report_what_only_a_lock_has(
    own: str | None, dependencies: tuple[str, ...], settings: UvSettings, places: TomlPlaces
) -> None:
    """Without a lock the dependencies are resolved by the server's settings: what was to be otherwise is refused.

    A package of the same name on the index would take the place of the one that is meant.
    """
    names = {line: read_line(line).name for line in dependencies}
    for line, name in names.items():
        if name == own:
            said = f"{quoted(line)} is the project itself, which cannot be installed from the index"
            places.report(Rejection(_CODE, said, "make a lock: uv lock"), _TABLE, key="dependencies", value=line)
    for name in dict.fromkeys(names.values()):
        if name == own:
            continue
        for source in settings.sources.get(name, ()):
            hint = FROM_THE_TREE if source.folder else FROM_AN_INDEX
            if source.index is not None:
                hint = "without a lock the server's own indexes are asked; make one: uv lock"
            report_source(places, source, Rejection(_CODE, f"{name} comes from {source.words}", hint))
    for key in (*settings.rules, *settings.choices):
        said = f"{key} cannot be kept without a lock"
        places.report(Rejection(_CODE, said, "make one: uv lock"), UV_TABLE, key=key)


def compare_with_lock(project: Pyproject, lock: UvLock, places: TomlPlaces) -> None:
    """Reports to `places`, those of the pyproject.toml, all that the lock was not made for."""
    if project.dynamic:
        return
    declared = lock.declared
    wanted = {_declared(line, project.uv): line for line in project.dependencies}
    # Conditions take time to be compared, and so many nobody writes.
    if declared is None or sum(len(each.marker) for each in (*wanted, *declared)) > _MOST_CONDITIONS:
        for line in project.dependencies:
            if (said := _unlike(line, lock)) is not None:
                _left_behind(places, said, line)
        return
    sources = project.uv.sources
    judged = _compare_sources(dict.fromkeys(each.name for each in wanted), sources, places)
    known = {each.name for each in declared}
    missing, left = differing(wanted, declared)
    for each in missing:
        if each.name in judged:
            continue
        line = wanted[each]
        if each.name not in known:
            said = f"uv.lock does not know {quoted(each.name)}"
        else:
            locked = tuple(other for other in left if other.name == each.name)
            said = _unlike(line, lock) or _made_for(each, line, locked)
        _left_behind(places, said, line)
    judged |= {each.name for each in missing}
    for each in left:
        if each.name not in judged:
            judged.add(each.name)
            _left_behind(places, f"uv.lock still has {quoted(str(each))}, which is not a dependency any more")
    _compare_rules(project, lock, places)


def _declared(line: str, uv: UvSettings) -> Dependency:
    found = read_line(line)
    indexes = (source.index for source in uv.sources.get(found.name, ()) if source.index)
    return replace(found, source=next(indexes, ""))


def _compare_sources(names: Iterable[str], sources: Mapping[str, tuple[UvSource, ...]], places: TomlPlaces) -> set[str]:
    """The names that cannot be compared further, among them those that are reported here."""
    judged: set[str] = set()
    for name in names:
        for source in sources.get(name, ()):
            if source.index is None:
                said = f"uv.lock has {name} from an index, here it comes from {source.words}"
                report_source(places, source, Rejection("lock", said, _AGAIN))
            # uv.lock divides what a source has a condition for; an index may be one that only the user's machine knows.
            if not source.index or not source.always:
                judged.add(name)
    return judged


def _made_for(wanted: Dependency, line: str, locked: Sequence[Dependency]) -> str:
    if wanted.source not in {each.source for each in locked} and (wanted.source or locked):
        where = printable(wanted.source, 100) or "the usual index"
        return f"uv.lock has {wanted.name} from another index, here it comes from {where}"
    made = " and ".join(quoted(str(each)) for each in locked[:3]) or "less"
    return f"uv.lock was made for {made}, wanted is {quoted(line)}"


def _compare_rules(project: Pyproject, lock: UvLock, places: TomlPlaces) -> None:
    for key in RULES:
        missing, left = differing(read_lines(project.uv.rules.get(key)), lock.rules[key])
        if missing or left:
            said = f"uv.lock was made with other {key}"
            places.report(Rejection("lock", said, _AGAIN), UV_TABLE, key=key)


def _unlike(line: str, lock: UvLock) -> str | None:
    """How the locked versions do not fit a dependency."""
    wanted = Requirement(line)
    name = canonicalize_name(wanted.name)
    versions = lock.direct.get(name, frozenset())
    if not versions or any(wanted.specifier.contains(each, prereleases=True) for each in versions if each):
        return None
    locked = printable(" and ".join(sorted(versions)), 100)
    return f"uv.lock has {name} {locked}, wanted is {quoted(line)}"


def _left_behind(places: TomlPlaces, said: str, line: str = "") -> None:
    places.report(Rejection("lock", said, _AGAIN), _TABLE, key="dependencies", value=line)
