"""What is done once a night: repositories are packed and pruned, old calls and long-deleted projects go."""

from __future__ import annotations

import logging

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

from clowdy.server.releases.desk import Releases
from clowdy.server.serve.journal import Journal

log = logging.getLogger(__name__)

HOUR_UTC = 3
LATE_SECONDS = 3600


class Nightly:
    """The schedule. A server that slept through the hour does it when it wakes within another."""

    def __init__(self, releases: Releases, journal: Journal) -> None:
        self._releases = releases
        self._journal = journal
        self._scheduler = AsyncIOScheduler(timezone="UTC")

    def start(self) -> None:
        """Begins to wait for the night."""
        self._scheduler.add_job(
            self.work,
            CronTrigger(hour=HOUR_UTC, timezone="UTC"),
            coalesce=True,
            max_instances=1,
            misfire_grace_time=LATE_SECONDS,
        )
        self._scheduler.start()

    def stop(self) -> None:
        """Ends the schedule; work that runs is not waited for."""
        self._scheduler.shutdown(wait=False)

    async def work(self) -> None:
        """Everything, in its order; one part that fails does not keep the others from their turn."""
        for name, part in (("calls", self._journal.trim), ("repositories", self._releases.maintain)):
            try:
                await part()
            except Exception:
                log.exception("nightly work on %s failed", name)
