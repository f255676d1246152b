"""The page of a project's calls, with many and with few of them in the journal."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from clowdy.server.serve.archive import Archive
from clowdy.server.serve.call_ids import first_number_at
from clowdy.server.serve.records import Record
from tests.bench.caller import Caller
from tests.bench.processes import clowdy
from tests.bench.table import Figure, middle, paired
from tests.harness import ADMIN, Server

FULL = bool(os.environ.get("BENCH_FULL"))
MANY = 5_000_000 if FULL else 1_000_000
FEW = 5_000
ROUNDS = 40
BATCH = 5_000
HOURS = 20.0


def calls(folder: Path) -> Iterator[Figure]:
    """The newest fifty, as the page asks for them."""
    projects = {}
    for name, count in (("many", MANY), ("few", FEW)):
        with clowdy(folder / name) as server:
            client = server.client(folder / f"work-{name}", "shop")
            client.hello()
            client.push()
            [project] = server.api("GET", "/api/projects").json()
            [function] = server.api("GET", "/api/projects/shop/functions").json()
            projects[name] = server
        _fill(server, project["id"], function["id"], count)
    times: dict[str, list[float]] = {"many": [], "few": []}
    with clowdy(folder / "many") as many, clowdy(folder / "few") as few:
        headers = {"Authorization": f"Bearer {ADMIN}"}
        with Caller(many.port, headers) as first, Caller(few.port, headers) as second:
            callers = {"many": first, "few": second}
            for turn in range(ROUNDS + 3):
                for name, caller in callers.items():
                    taken = caller.milliseconds("/api/projects/shop/invocations?limit=50")
                    if turn >= 3:
                        times[name].append(taken)
            first.ask("/api/projects/shop/invocations?limit=50")
            if len(json.loads(first.answer())) != 50:
                raise RuntimeError("there are no calls to show")
    yield Figure(
        "calls",
        f"logs page with {MANY:,} calls{'' if FULL else ', BENCH_FULL=1: 5,000,000'}",
        f"with {FEW:,}",
        paired(times["many"], times["few"]),
        2.0,
        f"{middle(times['many']):.1f} ms and {middle(times['few']):.1f} ms",
    )


def _fill(server: Server, project: str, function: str, count: int) -> None:
    """Writes so many calls of the last hours as the journal would."""
    archive = Archive.open(server.data / "journal.db")
    end = time.time() - 60
    first = first_number_at(end - HOURS * 3600)
    step = max(1, (first_number_at(end) - first) // count)
    head = json.dumps({"trigger": "gateway", "method": "GET", "path": "/", "params": {}, "query": "", "headers": {}})
    try:
        for start in range(0, count, BATCH):
            records = [
                Record(
                    id=f"{first + number * step:012x}",
                    time=end - HOURS * 3600 * (1 - number / count),
                    project_id=project,
                    function_id=function,
                    function="hello",
                    version=1,
                    release=1,
                    status="success",
                    http_status=200,
                    code=None,
                    duration_ms=0.5,
                    cold_start=False,
                    trigger="gateway",
                    method="GET",
                    path="/",
                    log="",
                    result='{"message":"Hello"}',
                    head=head,
                    body=b"",
                )
                for number in range(start, min(start + BATCH, count))
            ]
            archive.add(records, archive.state().done, 0)
    finally:
        archive.close()
