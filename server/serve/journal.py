"""Every call that was answered: appended to the spool on the way out, moved to the archive soon after, found again.

`append` is all that the hot path has of this. Everything else happens on threads of the journal's own, so that
neither a slow disk nor a long search holds up a call, or anybody else's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar

from clowdy.server.errors import ClowdyError, Invalid
from clowdy.server.serve.archive import Archive, Page, State, Totals
from clowdy.server.serve.batches import read_batch
from clowdy.server.serve.call_ids import CallIds, new_call_id, number_of
from clowdy.server.serve.mover import Moved, Mover
from clowdy.server.serve.records import Mask, Packer, Record, Redact, no_redaction
from clowdy.server.serve.spool import BACKLOG_BYTES, Position, Spool
from clowdy.server.serve.tail import Tail

if TYPE_CHECKING:
    from clowdy.server.serve.exchange import CallRecord

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

log = logging.getLogger(__name__)

KEEP_SECONDS = 30 * 86_400.0
KEEP_ROWS = 5_000_000

FLUSH_SECONDS = 0.25
FOLLOWED_SECONDS = 0.05
RETRY_SECONDS = 5.0
ROTATE_BYTES = 16 * 1024 * 1024

PAGE_ROWS = 1_000
SEARCH_CHARACTERS = 1_000

READ_WAIT_SECONDS = 2.0
"""How long a reader waits for calls that were answered just now to come into the archive."""


@dataclass(frozen=True, slots=True)
class Health:
    """What `doctor` and the pages show: calls kept, calls lost ever, and what waits for the archive."""

    rows: int
    lost: int
    waiting_bytes: int
    error: str | None


class Journal:
    """The calls of every project."""

    def __init__(
        self,
        archive: Archive,
        spool: Spool,
        state: State,
        redact: Redact,
        mask_of: Callable[[str], Mask | None],
        clock: Callable[[], float],
        mover: Mover | None,
    ) -> None:
        self._archive = archive
        self._mover = mover
        self._own = spool.end
        self._spool = spool
        self._redact = redact
        self._mask_of = mask_of
        self._clock = clock
        self._pack = Packer()
        self._done = state.done
        self._rows = state.rows
        self._lost = state.lost
        self._lost_now = 0
        self._waiting_bytes = 0
        self._error: str | None = None
        self._closed = False
        # What an earlier server moved may be moved again: it was killed, or its archive came from a backup.
        self._new_alone = False
        self._tails: set[Tail] = set()
        self._writer = ThreadPoolExecutor(1, "journal-write")
        self._readers = ThreadPoolExecutor(2, "journal-read")
        self._loop = asyncio.get_running_loop()
        self._flushing = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._flusher: asyncio.Task[None] | None = None
        self._keep_seconds = KEEP_SECONDS
        self._keep_rows = KEEP_ROWS

    @classmethod
    async def open(
        cls,
        data_dir: Path,
        *,
        redact: Redact = no_redaction,
        mask_of: Callable[[str], Mask | None] = lambda project_id: None,
        clock: Callable[[], float] = time.time,
        ids: CallIds = new_call_id,
        keep_rows: int = KEEP_ROWS,
        keep_seconds: float = KEEP_SECONDS,
        backlog_bytes: int = BACKLOG_BYTES,
        apart: bool = False,
    ) -> Self:
        """The journal in `data_dir`, with everything in it that an earlier server answered.

        `apart` has calls moved into the archive by a process of its own.

        `redact` takes a project's secrets out of what is stored; it is called on a thread. `mask_of` a project does
        so before anything is written to the spool; None says that the project has none.
        """

        def begin() -> tuple[Archive, Spool, State]:
            archive = Archive.open(data_dir / "journal.db")
            try:
                state = archive.state()
                spool = Spool.open(data_dir / "spool", state.done, backlog_bytes=backlog_bytes)
            except BaseException:
                archive.close()
                raise
            return archive, spool, state

        archive, spool, state = await asyncio.to_thread(begin)
        ids.begin_after(state.highest)
        mover = Mover(data_dir / "journal.db", data_dir / "spool") if apart else None
        if mover is not None:
            mover.start()
        journal = cls(archive, spool, state, redact, mask_of, clock, mover)
        journal._keep_rows = keep_rows
        journal._keep_seconds = keep_seconds
        journal._new_alone = await journal.flush()
        return journal

    async def close(self) -> None:
        """Moves what waits to the archive, and ends those who follow. Calls that end later are not recorded."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._flusher is not None:
            await asyncio.wait([self._flusher])
        await self.flush()
        for tail in tuple(self._tails):
            tail.close()
        self._spool.close()
        if self._mover is not None:
            await self._on(self._writer, self._mover.stop)
        for threads in (self._writer, self._readers):
            await asyncio.to_thread(threads.shutdown)
        self._archive.close()

    # The hot path.

    def append(self, call: CallRecord) -> None:
        """Records a call as `extend` does."""
        self.extend((call,))

    def extend(self, calls: Sequence[CallRecord]) -> None:
        """Records calls so that they survive the end of this process. Never waits for more than one write."""
        packed = [self._pack(call, self._mask_of(call.project.project_id)) for call in calls]
        if self._spool.extend(packed):
            self._waiting_bytes += sum(map(len, packed))
        else:
            self._lost_now += len(packed)
        if self._timer is None and not self._closed:
            delay = FOLLOWED_SECONDS if self._tails else FLUSH_SECONDS
            self._timer = self._loop.call_later(delay, self._due)

    # Into the archive.

    def _due(self) -> None:
        self._timer = None
        if self._flusher is None or self._flusher.done():
            self._flusher = self._loop.create_task(self._flush_soon())

    async def _flush_soon(self) -> None:
        if not await self.flush() and self._timer is None:
            self._timer = self._loop.call_later(RETRY_SECONDS, self._due)

    async def flush(self) -> bool:
        """Moves everything that was appended before this call to the archive; says whether that worked."""
        end = self._spool.end
        async with self._flushing:
            try:
                while self._done < end or self._lost_now:
                    await self._flush_batch(end)
            except (ClowdyError, OSError) as error:
                if self._error is None:
                    log.error("calls cannot be moved to the journal, and wait in the spool: %s", error)
                self._error = str(error)
                return False
            self._error = None
            if self._spool.size > ROTATE_BYTES:
                self._spool.rotate()
        return True

    async def _flush_batch(self, end: Position) -> None:
        lost, self._lost_now = self._lost_now, 0
        start = self._done
        try:
            moved, records = await self._loop.run_in_executor(self._writer, self._move, start, max(start, end), lost)
        except BaseException:
            self._lost_now += lost
            # The thread may have moved the batch all the same.
            self._new_alone = False
            raise
        self._done = moved.done
        self._rows = moved.rows
        self._lost += moved.lost
        self._spool.settle(moved.size)
        self._waiting_bytes = max(0, self._waiting_bytes - moved.payload)
        for record in records if self._tails else ():
            for tail in tuple(self._tails):
                tail.offer(record)

    def _move(self, start: Position, end: Position, lost: int) -> tuple[Moved, list[Record]]:
        """One batch from the spool to the archive, with its records where it was not another process that moved it.

        On the writing thread.
        """
        moved, records = self._move_elsewhere(start, end, lost), []
        if moved is None:
            batch = read_batch(self._spool.folder, start, end, self._redact)
            lost += batch.lost
            rows = self._archive.add(batch.records, batch.done, lost, known_new=self._new_alone)
            moved, records = Moved(batch.done, lost, batch.size, batch.payload, rows), batch.records
        if moved.done.file > start.file:
            self._spool.forget(moved.done)
        rows = moved.rows
        while rows > self._keep_rows:
            removed = self._archive.trim(float("-inf"), self._keep_rows)
            if not removed:
                break
            rows -= removed
        return moved._replace(rows=rows), records

    def _move_elsewhere(self, start: Position, end: Position, lost: int) -> Moved | None:
        # Who follows wants the records themselves. What an earlier server left has yet to be masked.
        if self._tails or self._mover is None or start < self._own:
            return None
        moved = self._mover.move(start, end, lost, known_new=self._new_alone)
        if moved is None:
            # It may have moved the batch before it went.
            self._new_alone = False
        return moved

    async def trim(self) -> int:
        """Removes what is older than is kept, a little at a time; says how many calls that were."""
        removed = 0
        while part := await self._on(
            self._writer, self._archive.trim, self._clock() - self._keep_seconds, self._keep_rows
        ):
            removed += part
        self._rows = (await self._on(self._readers, self._archive.state)).rows
        return removed

    async def remove_project(self, project_id: str) -> None:
        """Removes the calls and numbers of a project, a little at a time."""
        await self.flush()
        while await self._on(self._writer, self._archive.remove_project, project_id):
            pass
        self._rows = (await self._on(self._readers, self._archive.state)).rows

    # Out of it.

    async def recent(
        self,
        project_id: str,
        function_id: str | None = None,
        *,
        limit: int = 50,
        before: str | None = None,
        since: float | None = None,
        search: str | None = None,
    ) -> Page:
        """The newest calls, those that were answered a moment ago included; `before` is the id that a page ended at.

        `search` is looked for in what a call printed, got and answered, its path, code and id, without regard to case.
        A page of a search may be short and yet have a `before`: looking further takes longer than one request should.
        Raises Invalid for a `before` that is no id.
        """
        beyond = None if before is None else number_of(before)
        limit = max(1, min(limit, PAGE_ROWS))
        search = search[:SEARCH_CHARACTERS] if search else None
        await self._catch_up()
        return await self._on(
            self._readers,
            lambda: self._archive.page(project_id, function_id, limit=limit, before=beyond, since=since, search=search),
        )

    async def get(self, call_id: str) -> Record | None:
        """One call, or None."""
        try:
            number = number_of(call_id)
        except Invalid:
            return None
        await self._catch_up()
        return await self._on(self._readers, self._archive.get, number)

    async def totals(self, project_ids: Collection[str]) -> dict[str, Totals]:
        """How many calls there ever were, how many succeeded and how long they took, by function id."""
        await self._catch_up()
        return await self._on(self._readers, self._archive.totals, project_ids)

    def tail(self, project_id: str, function_id: str | None = None) -> Tail:
        """Follows new calls from now on. Close it."""
        tail = Tail(project_id, function_id, self._tails.discard)
        self._tails.add(tail)
        return tail

    @property
    def health(self) -> Health:
        """How it stands with the journal itself."""
        return Health(self._rows, self._lost + self._lost_now, self._waiting_bytes, self._error)

    async def _catch_up(self) -> None:
        """What was answered before now is in the archive, if that is possible soon."""
        if self._done < self._spool.end:
            flush = asyncio.ensure_future(self.flush())
            await asyncio.wait([flush], timeout=READ_WAIT_SECONDS)

    async def _on(
        self,
        threads: ThreadPoolExecutor,
        work: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        return await self._loop.run_in_executor(threads, lambda: work(*args, **kwargs))
