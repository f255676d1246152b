"""Answers that are ready in one turn of the event loop: recorded together by one write, then sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from clowdy.server.serve.exchange import CallRecord, Exchange, Ledger


class Sender(Protocol):
    """A connection that waits for an answer."""

    def closes(self, exchange: Exchange) -> CallRecord | None:
        """The record of the call, which is over; None when its client left meanwhile."""
        ...

    def send(self, exchange: Exchange) -> None:
        """Sends the answer, which is recorded."""
        ...

    def force_close(self) -> None:
        """Ends the connection instead."""
        ...


class Outbox:
    """Every answer that waits for its record. The more calls end at once, the fewer writes are needed for each."""

    def __init__(self, ledger: Callable[[], Ledger], loop: asyncio.AbstractEventLoop) -> None:
        self._ledger = ledger
        self._call_soon = loop.call_soon
        self._waiting: list[tuple[Sender, Exchange]] = []

    def add(self, sender: Sender, exchange: Exchange) -> None:
        """Has the answer of `exchange` sent by `sender` before the loop looks for anything new."""
        if not self._waiting:
            self._call_soon(self._send)
        self._waiting.append((sender, exchange))

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        records = []
        ready = []
        for sender, exchange in waiting:
            record = sender.closes(exchange)
            if record is not None:
                records.append(record)
                ready.append((sender, exchange))
        try:
            if records:
                self._ledger()(records)
        except BaseException:
            # Nothing is answered that was not recorded.
            for sender, _ in ready:
                sender.force_close()
            raise
        for sender, exchange in ready:
            sender.send(exchange)
