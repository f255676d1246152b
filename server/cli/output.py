"""What verbs print: lines, tables and JSON, safe for a terminal and plain for everything else."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from clowdy.schema.text import printable

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def say(text: str = "") -> None:
    """Prints a text; each of its lines is made harmless, whoever wrote it."""
    for line in text.split("\n"):
        click.echo(printable(line))


def say_painted(text: str, rest: str = "", **style: Any) -> None:
    """Prints one harmless line whose beginning is in colour where that is wanted."""
    click.echo(paint(printable(text), **style) + printable(rest))


def note(text: str) -> None:
    """Says something beside the result, on standard error."""
    click.echo(f"clowdy: {printable(text)}", err=True)


def say_json(value: Any) -> None:
    """Prints one value as one line of JSON."""
    click.echo(json.dumps(value, separators=(", ", ": ")))


def is_object(text: str) -> bool:
    """Whether a line is one JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def say_object(value: Any) -> None:
    """Prints a value as JSON that people can read."""
    click.echo("\n".join(printable(line) for line in json.dumps(value, indent=2, ensure_ascii=False).split("\n")))


def say_table(rows: Iterable[Sequence[object]], *, head: Sequence[str] = ()) -> None:
    """Prints rows in aligned columns, each row on one line. Nothing at all without rows."""
    lines = [[printable(_cell(cell)) for cell in row] for row in rows]
    if not lines:
        return
    if head:
        lines.insert(0, list(head))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        click.echo(paint(text, dim=True) if head and number == 0 else text)


def paint(text: str, **style: Any) -> str:
    """`text` in colour where standard output is a terminal that wants it."""
    return click.style(text, **style) if colourful() else text


def colourful() -> bool:
    """Whether standard output takes colours: a terminal, not a dumb one, and nobody has said no."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def seconds(value: object) -> float | None:
    """A time of the API, seconds since 1970 or ISO 8601, as seconds; None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None


def ago(value: object) -> str:
    """How long ago a time of the API was: `2 h ago`."""
    moment = seconds(value)
    if moment is None:
        return "-"
    past = max(0.0, time.time() - moment)
    for size, unit in _UNITS:
        if past >= size:
            return f"{int(past // size)} {unit} ago"
    return "just now"


def clock(value: object) -> str:
    """A time of the API in this machine's time zone, to the second."""
    moment = seconds(value)
    return "-" if moment is None else f"{datetime.fromtimestamp(moment, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def milliseconds(value: object) -> str:
    """A duration in milliseconds, as long as it needs to be."""
    if not isinstance(value, (int, float)):
        return "-"
    if value >= 10_000:
        return f"{value / 1000:.1f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def short(commit: object) -> str:
    """A commit as people name it."""
    return str(commit)[:7] if commit else "-"


def _cell(cell: object) -> str:
    return "-" if cell is None or cell == "" else str(cell)
