"""The process that moves calls from the spool into the archive, so that the server's interpreter goes on with calls.

The server asks for one batch at a time, on a thread that only waits. It ends when the server does.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from clowdy.server.errors import Unavailable
from clowdy.server.serve.batches import add_batch, configure, read_batch
from clowdy.server.serve.spool import Position

log = logging.getLogger(__name__)

END_SECONDS = 5.0
# Longer than it may wait for the database.
ANSWER_SECONDS = 30.0
AGAIN_SECONDS = 30.0
"""How long after a start the process is not started again: one that ends at once must not be all that is done."""

CANNOT = "the journal cannot be used now"


class Moved(NamedTuple):
    """What a batch came to: see `batches.Batch`, and how many rows the archive has now."""

    done: Position
    lost: int
    size: int
    payload: int
    rows: int


class Mover:
    """The server's end of the process. One thread at a time asks."""

    def __init__(self, archive: Path, spool: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._command = [sys.executable, "-P", "-m", __name__, str(archive), str(spool)]
        self._process: subprocess.Popen[bytes] | None = None
        self._clock = clock
        self._again_at = 0.0

    def start(self) -> None:
        """Starts it; without it everything still works."""
        self._again_at = self._clock() + AGAIN_SECONDS
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd="/",
                # Ctrl-C at a terminal is for the server, which still has calls to record.
                start_new_session=True,
            )
        except OSError as error:
            log.warning("calls are moved by the server itself: %s", error)

    def move(self, start: Position, end: Position, lost: int, *, known_new: bool) -> Moved | None:
        """Has one batch moved; None when that is not known, since the process is gone. Raises Unavailable. Blocks.

        One that is gone is started again after a while.
        """
        if self._process is None and self._clock() >= self._again_at:
            self.start()
        process = self._process
        if process is None:
            return None
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps([start, end, lost, known_new]).encode() + b"\n")
            process.stdin.flush()
            if not select.select([process.stdout], [], [], ANSWER_SECONDS)[0]:
                process.kill()
            answer = json.loads(process.stdout.readline())
        except (OSError, ValueError):
            log.warning("the process that moves calls is gone: the server moves them itself")
            self.stop()
            return None
        if isinstance(answer, str):
            raise Unavailable(f"{CANNOT}: {answer}")
        (file, offset), *numbers = answer
        return Moved(Position(file, offset), *numbers)

    @property
    def pid(self) -> int | None:
        """Its id while there is one."""
        return None if self._process is None else self._process.pid

    def stop(self) -> None:
        """Ends it."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main(archive: str, spool: str) -> None:
    """Answers what the server asks, line by line."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with closing(sqlite3.connect(archive)) as connection:
        configure(connection)
        for line in sys.stdin.buffer:
            try:
                answer: object = _move(connection, Path(spool), *json.loads(line))
            except (sqlite3.Error, OSError) as error:
                answer = str(error)
            try:
                sys.stdout.write(json.dumps(answer) + "\n")
                sys.stdout.flush()
            except BrokenPipeError:
                # Whoever asked is gone: what was moved is moved.
                os._exit(0)


def _move(
    connection: sqlite3.Connection, spool: Path, start: list[int], end: list[int], lost: int, known_new: bool
) -> Moved:
    # What it reads was masked before it was written.
    batch = read_batch(spool, Position(*start), Position(*end), None)
    lost += batch.lost
    connection.execute("BEGIN IMMEDIATE")
    try:
        rows = add_batch(connection, batch.records, batch.done, lost, known_new=known_new)
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    return Moved(batch.done, lost, batch.size, batch.payload, rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
