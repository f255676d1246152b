"""The gateway against plain servers that give the same answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.processes import (
    BIN,
    ROOT,
    SERVER_CORES,
    Press,
    Reference,
    below,
    clowdy,
    command_of,
    cpu_seconds,
    module,
    pin,
    press,
    process_of,
    reference,
)
from tests.bench.table import Figure, middle, paired

PATH = "/api/gateway/shop/"
CONNECTIONS = 16
ROUNDS = 7
SECONDS = 1.0
WARM_SECONDS = 1.5

Run = Callable[[int, float], Press]
"""Presses one server through so many connections, for so many seconds."""


def throughput(folder: Path) -> Iterator[Figure]:
    """Requests a second of a trivial handler in the sandbox, logged."""
    handler = str(ROOT / "tests/bench/references/functions.py")
    with (
        clowdy(folder / "server") as server,
        reference(*module("bare", "PORT")) as bare,
        reference(
            *(sys.executable, "-m", "uvicorn", "tests.bench.references.asgi:app", "--port", "PORT"),
            *("--no-access-log", "--log-level", "warning"),
        ) as asgi,
        reference(
            *(str(BIN / "gunicorn"), "-w", "2", "-b", "127.0.0.1:PORT", "--no-control-socket"),
            f"functions_framework:create_app('hello', {handler!r})",
        ) as functions,
    ):
        client = server.client(folder / "work", "shop")
        client.hello()
        client.push()
        pid = process_of(server)
        [mover] = [each for each in below(pid) if "clowdy.server.serve.mover" in command_of(each)]
        pin(pid, SERVER_CORES)
        for each in (bare, asgi):
            pin(each.pid, SERVER_CORES)
        press(server.port, PATH, CONNECTIONS, WARM_SECONDS)
        runs: dict[str, Run] = {
            "ours": lambda connections, seconds: press(server.port, PATH, connections, seconds, watched=pid),
            "bare": _of(bare),
            "asgi": _of(asgi),
            "functions": _of(functions),
        }
        many: dict[str, list[Press]] = {name: [] for name in runs}
        single: dict[str, list[Press]] = {"ours": [], "bare": []}
        moving = cpu_seconds(mover)
        for _ in range(ROUNDS):
            for name, run in runs.items():
                many[name].append(run(CONNECTIONS, SECONDS))
            for name, alone in single.items():
                alone.append(runs[name](1, SECONDS))
        moving = cpu_seconds(mover) - moving
    failures = sum(each.failures for each in many["ours"] + single["ours"])
    if failures:
        raise RuntimeError(f"{failures} requests failed")
    ours, bare_runs = many["ours"], many["bare"]
    calls = sum(each.requests for each in ours + single["ours"])

    def rate(name: str, what: str, against: str, target: float) -> Figure:
        theirs = [each.rate for each in many[name]]
        mine = [each.rate for each in ours]
        return Figure(
            "throughput",
            what,
            against,
            paired(mine, theirs),
            target,
            f"{middle(mine):,.0f}/s and {middle(theirs):,.0f}/s",
            at_most=False,
        )

    yield rate("bare", "gateway, 16 connections, by wall", "bare aiohttp handler", 0.8)
    mine, theirs = [each.rate_by_cpu for each in ours], [each.rate_by_cpu for each in bare_runs]
    yield Figure(
        "throughput",
        "gateway, 16 connections, by CPU second",
        "bare aiohttp handler",
        paired(mine, theirs),
        0.8,
        f"{1e6 / middle(mine):.0f} us and {1e6 / middle(theirs):.0f} us of the server's process a request"
        f" (beside it {1e6 * moving / calls:.0f} us of the one that files the log)",
        at_most=False,
    )
    mine, theirs = [each.p99 for each in ours], [each.p99 for each in bare_runs]
    yield Figure(
        "throughput",
        "gateway, 16 connections, p99",
        "bare aiohttp handler",
        paired(mine, theirs),
        5,
        f"{middle(mine):.2f} ms and {middle(theirs):.2f} ms",
    )
    yield rate("asgi", "gateway, 16 connections", "FastAPI, uvicorn, 1 worker", 1.8)
    yield rate("functions", "gateway, 16 connections", "functions-framework, gunicorn, 2 workers", 7)
    mine, theirs = [each.p50 for each in single["ours"]], [each.p50 for each in single["bare"]]
    yield Figure(
        "throughput",
        "gateway, 1 connection, p50 added",
        "bare aiohttp handler",
        middle([one - other for one, other in zip(mine, theirs, strict=True)]),
        0.15,
        f"{middle(mine):.3f} ms and {middle(theirs):.3f} ms",
        unit="ms",
    )


def _of(server: Reference) -> Run:
    return lambda connections, seconds: press(server.port, "/", connections, seconds, watched=server.pid)
