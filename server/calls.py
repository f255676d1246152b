"""The journal's calls, in the shape that pages and API ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from clowdy.server.serve.journal import Journal
from clowdy.server.serve.tail import Missed as LeftOut
from clowdy.server.web.services import Call, CallFilter, CallTotals, Missed


class LoggedCalls:
    """Implements `web.services.Calls` over the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def every(self, wanted: CallFilter) -> Sequence[Call]:
        """The newest calls first."""
        page = await self._journal.recent(
            wanted.project_id,
            wanted.function_id,
            limit=wanted.limit,
            before=wanted.before,
            search=wanted.search or None,
        )
        return [record.as_json() for record in page.records]

    async def find(self, call_id: str) -> Call | None:
        """One call."""
        record = await self._journal.get(call_id)
        return None if record is None else record.as_json()

    @asynccontextmanager
    async def follow(self, project_id: str, function_id: str | None) -> AsyncIterator[AsyncIterator[Call | Missed]]:
        """Calls as they are logged, from when the context is entered."""
        tail = self._journal.tail(project_id, function_id)
        try:
            yield (Missed(item.calls) if isinstance(item, LeftOut) else item.as_json() async for item in tail)
        finally:
            tail.close()

    async def totals(self, project_ids: Sequence[str]) -> CallTotals:
        """Their numbers, over all functions."""
        every = (await self._journal.totals(project_ids)).values()
        return CallTotals(
            calls=sum(totals.calls for totals in every),
            successes=sum(totals.successes for totals in every),
            duration_ms=sum(totals.duration_ms for totals in every),
        )
