"""What a push or a rollback changes: what serves and what is to serve in, rows out. Pure.

The push prints these rows, the page of a release shows them, `deploy/N`'s record keeps them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from clowdy.hooks.differences import LineCount, function_changes, moved, version_changes
from clowdy.schema.manifest import CheckSpec, FunctionSpec, Manifest, Network, RouteSpec
from clowdy.schema.parse import ANY_ORIGIN
from clowdy.schema.release import FunctionVersion

SECONDS_OF = (("s", 1), ("min", 60), ("h", 3600), ("days", 86400))
_OPENNESS = (Network.OFF, Network.DATABASE, Network.ON)
_WIDENED = "widened"
_VALUE = 40
_LISTED = 12


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: what serves now (with its release), or what is to serve (with one when it goes back to it).

    `codes` has the id of each function's filtered tree; a function whose code is not at hand may be missing. `lock` is
    the digest of its requirements lock, None without requirements, and `packages` the versions in it by name.
    `installed` says whether these are on this machine.
    """

    commit: str
    manifest: Manifest
    versions: Mapping[str, FunctionVersion]
    codes: Mapping[str, str] = field(default_factory=dict)
    release: int | None = None
    lock: str | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    installed: bool = True


@dataclass(frozen=True, slots=True)
class Since:
    """Why `live` is behind the deploy branch: who went back when, and what the push brings back with it."""

    release: int
    who: str
    how: str
    seconds_ago: float
    brings_back: tuple[str, ...] = ()
    more: int = 0

    def __str__(self) -> str:
        text = f"live is at deploy/{self.release} since {self.who}'s {self.how} {ago(self.seconds_ago)}"
        if not self.brings_back:
            return text
        more = f" (+{self.more} more)" if self.more else ""
        return f"{text}; this push also brings back: {', '.join(self.brings_back)}{more}"


@dataclass(frozen=True, slots=True)
class Row:
    """One change: `sign` is one of + - ~ =, `warning` is empty or what to look at twice."""

    sign: str
    kind: str
    name: str
    text: str = ""
    warning: str = ""

    def as_json(self) -> dict[str, str]:
        """The object that is stored and shown."""
        return {"sign": self.sign, "kind": self.kind, "name": self.name, "text": self.text, "warning": self.warning}


@dataclass(frozen=True, slots=True)
class Plan:
    """Every change, the unchanged rest summed in the last row.

    `release` is the one that is served again, or None for a new one; `live` and `live_commit` are what serves when
    the plan is made. `since` is what a plan begins with when `live` had gone back; `notes` stand below the rows.
    `builds` says that the requirements of the one served again are gone from this machine and installed first.
    """

    commit: str
    rows: tuple[Row, ...]
    live: int | None = None
    live_commit: str | None = None
    release: int | None = None
    since: str = ""
    notes: tuple[str, ...] = ()
    builds: bool = False

    @property
    def changes(self) -> tuple[Row, ...]:
        """The rows that are not `=`."""
        return tuple(row for row in self.rows if row.sign != "=")

    def counts(self) -> str:
        """`2 to add, 1 to change, 0 to remove`."""
        added, changed, removed = (sum(row.sign == sign for row in self.rows) for sign in "+~-")
        return f"{added} to add, {changed} to change, {removed} to remove"

    def summary(self, most: int = 5) -> tuple[str, ...]:
        """The changes in a few words each, for a note: `get_user v12`, `+ route GET /beta`."""
        words = [_in_short(row) for row in self.changes]
        return (*words[:most], f"{len(words) - most} more") if len(words) > most else tuple(words)

    def as_json(self) -> dict[str, Any]:
        """The object that is stored with a release and shown by `format=json`."""
        return {
            "commit": self.commit,
            "release": self.release,
            "live": self.live,
            "live_commit": self.live_commit,
            "since": self.since,
            "rows": [row.as_json() for row in self.rows],
            "notes": list(self.notes),
            "builds": self.builds,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The plan that `as_json` wrote; raises ValueError for anything else."""
        try:
            return cls(
                commit=str(content["commit"]),
                rows=tuple(Row(**{key: str(value) for key, value in row.items()}) for row in content["rows"]),
                live=None if content["live"] is None else int(content["live"]),
                live_commit=None if content["live_commit"] is None else str(content["live_commit"]),
                release=None if content["release"] is None else int(content["release"]),
                since=str(content["since"]),
                notes=tuple(str(note) for note in content["notes"]),
                builds=bool(content.get("builds", False)),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a plan: {error!r}") from None


def make_plan(
    live: Side | None,
    candidate: Side,
    *,
    lines: Mapping[str, LineCount] | None = None,
    since: Since | None = None,
    restarts: bool = False,
) -> Plan:
    """What serving `candidate` in place of `live` changes.

    `lines` has the lines added to and removed from each function's code, as far as they were counted. A candidate
    with a release of its own is gone back (or forward) to. With `restarts` what does not change starts again, too.
    """
    before = live.manifest if live is not None else Manifest({})
    after = candidate.manifest
    changes = [
        *_functions(live, candidate, lines or {}),
        *_routes(before.routes, after.routes),
        *_environment(before, after),
        *_secrets(before, after),
        *_image(live, candidate),
        *_network(before, after),
        *_public(before, after),
        *_checks(before, after),
        *_cors(before, after),
    ]
    rows = [row for row in changes if row.sign != "="]
    if candidate.release is not None:
        rows.append(Row("=", "env", "", "secrets and data are not rolled back"))
    unchanged = _unchanged([row for row in changes if row.sign == "="], restarts=restarts)
    return Plan(
        commit=candidate.commit,
        rows=(*rows, unchanged) if unchanged else tuple(rows),
        live=live.release if live is not None else None,
        live_commit=live.commit if live is not None else None,
        release=candidate.release,
        since=str(since) if since is not None else "",
        notes=tuple(_notes(live, candidate)),
        builds=candidate.release is not None and not candidate.installed,
    )


def ago(seconds: float) -> str:
    """`12 s ago`, `2 h ago`, `1 day ago`: in the largest unit of which there is one."""
    unit, length = next((unit, length) for unit, length in reversed(SECONDS_OF) if seconds >= length or length == 1)
    count = max(int(seconds // length), 0)
    return f"{count} {'day' if unit == 'days' and count == 1 else unit} ago"


def _in_short(row: Row) -> str:
    if row.kind == "function" and row.sign == "~":
        return f"{row.name} {row.text.partition(' ')[0].rpartition('→')[2].rstrip(',')}"
    return f"{row.sign} {row.kind} {row.name}"


def _functions(live: Side | None, candidate: Side, lines: Mapping[str, LineCount]) -> Iterable[Row]:
    before = live.manifest.functions if live is not None else {}
    after = candidate.manifest.functions
    for name, function in after.items():
        version = candidate.versions[name]
        if live is None or name not in before or name not in live.versions:
            text = f"v{version.number}, {function.path}:{function.attribute}"
            yield Row("+", "function", name, f"{text}, pinned" if version.pinned else text)
            continue
        old = live.versions[name]
        codes = live.codes.get(name), candidate.codes.get(name)
        recoded = None not in codes and codes[0] != codes[1]
        changed = function_changes(before[name], function, recoded=recoded, lines=lines.get(name))
        if old.digest != version.digest and live.lock != candidate.lock:
            changed.append("requirements")
        if old.digest != version.digest and not changed:
            changed = ["code"]
        if old.digest != version.digest or changed:
            numbers = f"v{old.number}" if old.number == version.number else f"v{old.number}→v{version.number}"
            yield Row("~", "function", name, f"{numbers} {', '.join(changed)}".rstrip())
        else:
            yield Row("=", "function", name)
    for name in before:
        if name not in after:
            yield Row("-", "function", name, f"v{live.versions[name].number}" if live and name in live.versions else "")


def _routes(before: Sequence[RouteSpec], after: Sequence[RouteSpec]) -> Iterable[Row]:
    old, new = ({str(route): route for route in routes} for routes in (before, after))
    for name, route in new.items():
        if name not in old:
            yield Row("+", "route", name, _target(route))
        elif old[name] == route:
            yield Row("=", "route", name)
        else:
            widened = route.auth.value == "none" and old[name].auth != route.auth
            text = f"{_target(old[name])} → {_target(route)}"
            yield Row("~", "route", name, text, _WIDENED if widened else "")
    for name, route in old.items():
        if name not in new:
            yield Row("-", "route", name, _target(route))


def _target(route: RouteSpec) -> str:
    return route.function if route.auth.value == "none" else f"{route.function}, auth {route.auth.value}"


def _environment(before: Manifest, after: Manifest) -> Iterable[Row]:
    for name in sorted({*before.env, *after.env}):
        yield _value("env", name, before.env.get(name), after.env.get(name))
    for name in sorted({*before.functions, *after.functions}):
        old, new = (_own(manifest, manifest.functions.get(name)) for manifest in (before, after))
        for key in sorted({*old, *new}):
            row = _value("env", key, old.get(key), new.get(key))
            yield Row(row.sign, row.kind, row.name, f"{row.text} in {name}")


def _own(manifest: Manifest, function: FunctionSpec | None) -> dict[str, str]:
    """What a function's environment has beside or instead of the project's."""
    if function is None:
        return {}
    return {name: value for name, value in function.env.items() if manifest.env.get(name) != value}


def _value(kind: str, name: str, old: str | None, new: str | None) -> Row:
    if old == new:
        return Row("=", kind, name)
    if old is None:
        return Row("+", kind, name, _shown(new))
    if new is None:
        return Row("-", kind, name, _shown(old))
    return Row("~", kind, name, f"{_shown(old)}→{_shown(new)}")


def _shown(value: str | None) -> str:
    text = value or '""'
    return text if len(text) <= _VALUE else f"{text[: _VALUE - 1]}…"


def _secrets(before: Manifest, after: Manifest) -> Iterable[Row]:
    old, new = before.secret_names, after.secret_names
    for name in sorted(old | new):
        if name in old and name in new:
            yield Row("=", "secret", name)
        else:
            yield Row("+", "secret", name, "declared") if name in new else Row("-", "secret", name, "not declared now")


def _image(live: Side | None, candidate: Side) -> Iterable[Row]:
    old, new = (live.lock if live is not None else None), candidate.lock
    before = live.packages if live is not None else {}
    if old == new:
        if new is not None:
            yield Row("=", "image", "requirements")
    elif new is None:
        yield Row("-", "image", "requirements", _packages(before))
    elif old is None:
        versions = [f"{name} {version}" for name, version in candidate.packages.items()]
        yield Row("+", "image", "requirements", f"{_packages(candidate.packages)}: {_listed(versions)}")
    else:
        changes = version_changes(before, candidate.packages)
        yield Row("~", "image", "requirements", _listed(changes) if changes else "the same versions, other files")


def _packages(versions: Mapping[str, str]) -> str:
    return f"{len(versions)} package" + ("s" if len(versions) != 1 else "")


def _listed(words: Sequence[str]) -> str:
    shown = ", ".join(words[:_LISTED])
    return f"{shown}, {len(words) - _LISTED} more" if len(words) > _LISTED else shown


def _network(before: Manifest, after: Manifest) -> Iterable[Row]:
    for name, function in after.functions.items():
        was = before.functions.get(name)
        old = was.network if was is not None else Network.OFF
        if old is function.network:
            continue
        widened = _OPENNESS.index(function.network) > _OPENNESS.index(old)
        if was is None:
            yield Row("+", "network", name, function.network.value, _WIDENED)
        else:
            yield Row("~", "network", name, moved(old.value, function.network.value), _WIDENED if widened else "")


def _public(before: Manifest, after: Manifest) -> Iterable[Row]:
    for name, function in after.functions.items():
        was = before.functions.get(name)
        if was is not None and was.public != function.public:
            text = moved(str(was.public).lower(), str(function.public).lower())
            yield Row("~", "public", name, text, _WIDENED if function.public else "")


def _checks(before: Manifest, after: Manifest) -> Iterable[Row]:
    """By request; of several checks of one request each is compared with the one in the same place."""
    old, new = _by_request(before), _by_request(after)
    for key, check in new.items():
        name, was = f"{check.method} {check.path}", old.get(key)
        if was is None:
            yield Row("+", "check", name, f"status {check.status}")
        elif was.status != check.status:
            yield Row("~", "check", name, f"status {moved(str(was.status), str(check.status))}")
        elif (was.has_json, was.json) != (check.has_json, check.json):
            yield Row("~", "check", name, "json")
        else:
            yield Row("=", "check", name)
    yield from (Row("-", "check", f"{check.method} {check.path}") for key, check in old.items() if key not in new)


def _by_request(manifest: Manifest) -> dict[tuple[str, str, int], CheckSpec]:
    seen: Counter[tuple[str, str]] = Counter()
    checks: dict[tuple[str, str, int], CheckSpec] = {}
    for check in manifest.checks:
        seen[check.method, check.path] += 1
        checks[check.method, check.path, seen[check.method, check.path]] = check
    return checks


def _cors(before: Manifest, after: Manifest) -> Iterable[Row]:
    if set(before.cors) == set(after.cors):
        return
    old, new = ", ".join(before.cors), ", ".join(after.cors)
    sign = "+" if not old else "-" if not new else "~"
    text = moved(old, new) if old and new else new or old
    warning = ""
    if ANY_ORIGIN in before.cors and new:
        # Fewer origins, but of named ones the visitor's cookies are taken, which any origin may not send.
        warning = "with cookies"
    elif old and set(after.cors) - set(before.cors):
        warning = _WIDENED
    yield Row(sign, "cors", "origins", text, warning)


def _unchanged(rows: Sequence[Row], *, restarts: bool) -> Row | None:
    """The summed row of everything that stays."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.kind] = counts.get(row.kind, 0) + 1
    if not counts:
        return None
    words = [
        kind if kind in ("image",) else f"{count} {kind}" + ("s" if count > 1 and kind != "env" else "")
        for kind, count in counts.items()
    ]
    instances = ", instances start again" if restarts else ", instances stay warm"
    return Row("=", "", ", ".join(words), f"unchanged{instances if 'function' in counts else ''}")


def _notes(live: Side | None, candidate: Side) -> Iterable[str]:
    if live is None:
        return
    for name, version in candidate.versions.items():
        old = live.versions.get(name)
        if old is not None and old.pinned and not version.pinned:
            yield f"pin cleared: {name} was pinned to v{old.number}"
    whole = [name for name, function in candidate.manifest.functions.items() if "." in function.sources]
    recoded = [
        name
        for name in whole
        if name in live.codes and name in candidate.codes and live.codes[name] != candidate.codes[name]
    ]
    if recoded and len(candidate.manifest.functions) > 1 and candidate.release is None:
        names = ", ".join(whole[:5]) + (f" and {len(whole) - 5} more" if len(whole) > 5 else "")
        yield (
            f"source is the whole repository for {names}: any change is a change of every function; "
            "to narrow it, name its folders in clowdy.yaml (source: api), or leave files out by .clowdyignore"
        )
