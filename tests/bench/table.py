"""What was measured, and the table of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

HEADINGS = ("row", "what", "against", "ratio", "target", "", "measured")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `value` is a ratio, or has the unit in which `target` is given; None is only shown."""

    row: str
    what: str
    against: str
    value: float
    target: float | None
    shown: str
    at_most: bool = True
    unit: str = ""

    @property
    def reached(self) -> bool:
        """Whether the target is met, if there is one."""
        if self.target is None:
            return True
        return self.value <= self.target if self.at_most else self.value >= self.target

    @property
    def cells(self) -> tuple[str, ...]:
        """The line's texts."""
        bound = "<=" if self.at_most else ">="
        return (
            self.row,
            self.what,
            self.against,
            _number(self.value, self.unit),
            "-" if self.target is None else f"{bound} {_number(self.target, self.unit)}",
            "" if self.target is None else "reached" if self.reached else "NOT REACHED",
            self.shown,
        )


def _number(value: float, unit: str) -> str:
    text = f"{value:.0f}" if value >= 1000 or value == int(value) else f"{value:.2f}"
    return f"{text} {unit}".rstrip()


def show(figures: Sequence[Figure]) -> str:
    """The table as text."""
    lines = [HEADINGS, *(figure.cells for figure in figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([rows[0], "-" * max(map(len, rows)), *rows[1:]])


def middle(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def paired(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of what was measured side by side: noise that hits both of a pair goes out."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
