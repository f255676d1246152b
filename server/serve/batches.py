"""How a batch of calls goes from the spool into the archive. Plain sqlite3: it also runs in a process of its own."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from clowdy.server.serve.records import COLUMNS, Record, Redact, to_row, unpack
from clowdy.server.serve.spool import Position, read_spool

log = logging.getLogger(__name__)

Item = TypeVar("Item")

BATCH_BYTES = 512 * 1024

ROWS_AT_ONCE = (200, 40, 8, 1)
"""How many rows a statement has. SQLite keeps what it made of each statement: a few sizes, not one for every batch."""

BUSY_MS = 10_000
CHECKPOINT_PAGES = 4_000

YIELD_EVERY = 64
"""After how many records the interpreter's lock is handed over."""

_INSERTS = {
    rows: f"INSERT INTO calls ({', '.join(COLUMNS)}) VALUES "  # noqa: S608
    + ", ".join([f"({', '.join('?' * len(COLUMNS))})"] * rows)
    + " ON CONFLICT DO NOTHING"
    for rows in ROWS_AT_ONCE
}
_ADD_TOTALS = """
    INSERT INTO totals (function_id, project_id, calls, successes, duration_ms) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (function_id) DO UPDATE SET
        calls = calls + excluded.calls,
        successes = successes + excluded.successes,
        duration_ms = duration_ms + excluded.duration_ms
"""
_ADD_STATE = """
    UPDATE state SET spool_file = ?, spool_offset = ?, rows = rows + ?, lost = lost + ? RETURNING rows
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """Calls from the spool. `size` and `payload` are their bytes with and without frames, `done` is where they end."""

    records: list[Record]
    done: Position
    lost: int
    size: int
    payload: int


def read_batch(folder: Path, start: Position, end: Position, redact: Redact | None) -> Batch:
    """The next calls of the spool in `folder`; what cannot be read of them is lost."""
    piece = read_spool(folder, start, end, BATCH_BYTES)
    records: list[Record] = []
    lost = piece.damaged
    for number, payload in enumerate(piece.payloads):
        if number % YIELD_EVERY == 0:
            # It would else be kept for 5 ms at a time.
            time.sleep(0)
        try:
            records.append(unpack(payload, redact))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one call must not hold up all others
            lost += 1
            log.error("a call is lost: %r", error)
    return Batch(records, piece.end, lost, piece.size, sum(map(len, piece.payloads)))


def add_batch(
    connection: sqlite3.Connection, records: Sequence[Record], done: Position, lost: int, *, known_new: bool
) -> int:
    """Stores `records`, and that the spool was read up to `done`, in the present transaction; how many rows there are.

    A record that is there already is neither stored nor counted again; `known_new` says that none is.
    """
    new = records if known_new else _new(connection, records)
    for part in _parts(new):
        values: list[Any] = []
        for record in part:
            values += to_row(record)
        connection.execute(_INSERTS[len(part)], values)
    connection.executemany(_ADD_TOTALS, _counted(new))
    [[rows]] = connection.execute(_ADD_STATE, (done.file, done.offset, len(new), lost)).fetchall()
    return int(rows)


def configure(connection: sqlite3.Connection) -> None:
    """Settings of every connection to the archive."""
    # The sqlite3 module would begin transactions itself, late and never IMMEDIATE.
    connection.isolation_level = None
    # NORMAL: what a power cut takes is at most what was written since the last checkpoint; nothing waits for a disk.
    # Checkpoints are rare, since the same pages at the end of the indexes are written by every batch.
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        f"busy_timeout={BUSY_MS}",
        f"wal_autocheckpoint={CHECKPOINT_PAGES}",
        f"journal_size_limit={4 * CHECKPOINT_PAGES * 4096}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """`items` in as few parts as there can be of those sizes."""
    start = 0
    for size in ROWS_AT_ONCE:
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size


def _new(connection: sqlite3.Connection, records: Sequence[Record]) -> list[Record]:
    """Those of `records` that are not there yet, each once."""
    new = {record.number: record for record in records}
    for part in _parts(list(new)):
        marks = ", ".join("?" * len(part))
        # Normally no row comes back, so that this is one step however many are asked for.
        for (number,) in connection.execute(f"SELECT id FROM calls WHERE id IN ({marks})", part).fetchall():  # noqa: S608
            del new[number]
    return list(new.values())


def _counted(records: Sequence[Record]) -> list[tuple[str, str, int, int, float]]:
    """Function, project, calls, successes and milliseconds."""
    counted: defaultdict[tuple[str, str], list[Any]] = defaultdict(lambda: [0, 0, 0.0])
    for record in records:
        numbers = counted[record.function_id, record.project_id]
        numbers[0] += 1
        numbers[1] += record.status == "success"
        numbers[2] += record.duration_ms
    return [(*names, *numbers) for names, numbers in counted.items()]
