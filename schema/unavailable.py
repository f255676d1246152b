"""What a manifest may not say yet: names that are kept for later, and keys whose machinery is not built.

The one place to change when something is built: delete its row. The keys themselves are described, parsed and checked
like all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from clowdy.schema.marks import Path

WORDS = "not available in this version"
ANY = "*"

KEPT_AT_THE_TOP = ("migrations", "environments", "preview", "domains", "jwt", "verify")
KEPT_IN_A_FUNCTION = ("rate", "retries", "max_age", "timezone", "python", "deprecated")
KEPT_IN_A_ROUTE = ("deprecated",)


@dataclass(frozen=True, slots=True)
class Unavailable:
    """What stands at `path` (`*`: any key) is refused where `applies` to its value.

    `words` say so in the documentation. `whole` tells a key that is refused as such from single values of one. Of a
    `kept` one nothing else is judged.
    """

    path: tuple[str, ...]
    applies: Callable[[Any], bool]
    words: str = ""
    whole: bool = True
    kept: bool = False


def _always(_: Any) -> bool:
    return True


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(value is known or (isinstance(value, str) and value == known) for known in values)


NOT_BUILT = (
    Unavailable(("database",), _always, "`database`"),
    Unavailable(("functions", ANY, "schedule"), bool, "`schedule`, unless it is an empty list"),
    Unavailable(("functions", ANY, "network"), _one_of("database"), "`network: database`", whole=False),
    Unavailable(("routes", ANY, "auth"), _one_of("key", "jwt"), "`auth: key` and `jwt`", whole=False),
)

KEPT = (
    *(Unavailable((name,), _always, kept=True) for name in KEPT_AT_THE_TOP),
    *(Unavailable(("functions", ANY, name), _always, kept=True) for name in KEPT_IN_A_FUNCTION),
    *(Unavailable(("routes", ANY, name), _always, kept=True) for name in KEPT_IN_A_ROUTE),
    Unavailable(("functions", ANY, "network"), lambda value: isinstance(value, list), kept=True),
)


def find_unavailable(data: Any) -> Iterator[tuple[Path, Unavailable]]:
    """Every path of `data` that cannot be had yet."""
    for row in (*KEPT, *NOT_BUILT):
        for path, value in _at(data, row.path, ()):
            if row.applies(value):
                yield path, row


def _at(data: Any, pattern: tuple[str, ...], path: Path) -> Iterator[tuple[Path, Any]]:
    if not pattern:
        yield path, data
    elif isinstance(data, dict):
        step, rest = pattern[0], pattern[1:]
        for name in data if step == ANY else (step,):
            if name in data:
                yield from _at(data[name], rest, (*path, name))
