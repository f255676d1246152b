"""Where the entries of a TOML file stand: its parser tells values without places.

Line by line and no more: a table header or a key in a text of several lines is taken for one. What is found here is
only where a problem is shown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from clowdy.schema.problems import Problem
from clowdy.schema.rejection import Rejection
from clowdy.schema.source import Source
from clowdy.schema.text import ELLIPSIS

MOST_PROBLEMS = 50

_HEADER = re.compile(
    r"^[ \t]{0,16}(\[\[?)[ \t]{0,4}([A-Za-z0-9_-]{1,60}(?:\.[A-Za-z0-9_-]{1,60}){0,4})[ \t]{0,4}\]", re.MULTILINE
)


class TomlPlaces:
    """Places in one file, and the problems found there: the first 50, the rest counted."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._tables: dict[str, list[tuple[int, int]]] = {}
        found = list(_HEADER.finditer(source.text))
        self._top = found[0].start() if found else len(source.text)
        last: tuple[str, int] | None = None
        for match in found:
            if last is not None:
                self._tables.setdefault(last[0], []).append((last[1], match.start()))
            last = (f"{match[1]}{match[2]}", match.start())
        if last is not None:
            self._tables.setdefault(last[0], []).append((last[1], len(source.text)))
        self._problems: list[Problem] = []
        self._more = 0

    @property
    def problems(self) -> list[Problem]:
        """What was reported, in the order of the file."""
        problems = sorted(set(self._problems))
        if self._more:
            problems.append(
                self._source.whole("requirements", f"{ELLIPSIS} and {self._more} more problems of this kind")
            )
        return problems

    def has(self, table: str) -> bool:
        """Whether a table of that header was found."""
        return table in self._tables

    def report(self, rejection: Rejection, table: str = "", index: int = 0, key: str = "", value: str = "") -> None:
        """Adds a problem at the value, written in quotes, of a key in the `index`-th table of that header.

        `table` is as it is written, `[project`, `[tool.uv` or `[[package`. What is not found is placed at what is
        around it.
        """
        if len(self._problems) >= MOST_PROBLEMS:
            self._more += 1
            return
        start, end = self._span(table, index)
        place = (start, self._line_end(start)) if table else None
        if key:
            found = re.compile(rf"^[ \t]{{0,16}}{re.escape(key)}[ \t]{{0,16}}=", re.MULTILINE).search(
                self._source.text, start, end
            )
            if found is not None:
                place = (found.start(), self._line_end(found.start()))
        if value:
            after = place[0] if place else start
            for quote in ('"', "'"):
                at = self._source.text.find(f"{quote}{value}{quote}", after, end)
                if at >= 0:
                    place = (at, at + len(value) + 2)
                    break
        if place is None:
            self._problems.append(self._source.whole(rejection.code, rejection.message, rejection.hint))
            return
        while place[0] < place[1] and self._source.text[place[0]] in " \t":
            place = (place[0] + 1, place[1])
        self._problems.append(self._source.problem(*place, rejection.code, rejection.message, rejection.hint))

    def _span(self, table: str, index: int) -> tuple[int, int]:
        if not table:
            return 0, self._top
        known: Sequence[tuple[int, int]] = self._tables.get(table, ())
        return known[index] if index < len(known) else (0, len(self._source.text))

    def _line_end(self, start: int) -> int:
        end = self._source.text.find("\n", start)
        return len(self._source.text) if end < 0 else end
