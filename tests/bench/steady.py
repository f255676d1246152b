"""Deploys and rollbacks while the same function is called all the time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.bench.processes import Load, clowdy, memory, press, process_of
from tests.bench.table import Figure

PATH = "/api/gateway/shop/"
FULL = bool(os.environ.get("BENCH_FULL"))
DEPLOYS = 200 if FULL else 60
CALLS = 100_000 if FULL else 30_000
FIRST_CALLS = 1_000
CONNECTIONS = 4
MEBIBYTE = 1024 * 1024


def steady(folder: Path) -> Iterator[Figure]:
    """Requests that fail, and memory that grows."""
    with clowdy(folder / "server") as server:
        client = server.client(folder / "work", "shop")
        client.hello("Hello 0")
        client.push()
        client.hello("Hello again")
        client.push()
        client.git("fetch", "-q", "clowdy")
        calls = 0
        while calls < FIRST_CALLS:
            calls += press(server.port, PATH, CONNECTIONS, 0.1).requests
        before = memory(process_of(server), "Rss")
        with Load(server.port, PATH, CONNECTIONS) as load:
            for number in range(DEPLOYS):
                if number % 3 == 2:
                    client.git("push", "-q", "clowdy", f"deploy/{1 + number % 2}:live")
                else:
                    client.hello(f"Hello {number}")
                    client.git("push", "-q", "clowdy", "main")
        found = load.result
        assert found is not None
        requests = found.requests
        while requests < CALLS:
            requests += press(server.port, PATH, CONNECTIONS, 2.0).requests
        after = memory(process_of(server), "Rss")
    length = "" if FULL else ", BENCH_FULL=1: 200"
    yield Figure(
        "steady",
        f"failed requests in {DEPLOYS} deploys and rollbacks under load{length}",
        "-",
        found.failures,
        0,
        f"of {found.requests:,}, p99 {found.p99:.1f} ms",
    )
    yield Figure(
        "steady",
        f"server memory after {requests:,} calls and {DEPLOYS} deploys",
        f"after {calls:,} calls",
        after / before,
        1.1,
        f"{after / MEBIBYTE:.1f} MB and {before / MEBIBYTE:.1f} MB",
    )
