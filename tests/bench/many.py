"""A server with a thousand projects against one with a single project."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.bench.processes import SERVER_CORES, Press, clowdy, memory, pin, press, process_of
from tests.bench.seed import copies, manifest
from tests.bench.table import Figure, middle, paired
from tests.harness import HELLO, Server

PROJECTS = 1_000
ROUTES = 20
ROUNDS = 8
SECONDS = 0.8
CONNECTIONS = 4
KIBIBYTE = 1024


def many(folder: Path) -> Iterator[Figure]:
    """What a request costs, and what a project weighs that nobody calls."""
    with clowdy(folder / "many") as server:
        _deploy(server, folder / "first")
    names = copies(server.data, PROJECTS - 1)
    with clowdy(folder / "one") as one, clowdy(folder / "many") as thousand:
        _deploy(one, folder / "second")
        sides = (_Side(thousand, names[PROJECTS // 2]), _Side(one, "shop"))
        for side in sides:
            side.warm()
        for _ in range(ROUNDS):
            for side in sides:
                side.press()
    large, small = sides
    ours, theirs = ([1e6 / each.rate_by_cpu for each in side.results] for side in sides)
    yield Figure(
        "many",
        f"the gateway's time per request with {PROJECTS:,} projects of {ROUTES} routes",
        "with 1 project",
        paired(ours, theirs),
        1.1,
        f"{middle(ours):.0f} us and {middle(theirs):.0f} us of the server",
    )
    each = (large.weight - small.weight) / (PROJECTS - 1) / KIBIBYTE
    shown = f"{large.weight / KIBIBYTE**2:.0f} MB and {small.weight / KIBIBYTE**2:.0f} MB of the server"
    yield Figure("many", "server memory per idle project", "-", each, 60, shown, unit="KB")


class _Side:
    """One of the two servers, and what its requests cost."""

    def __init__(self, server: Server, project: str) -> None:
        self._port = server.port
        self._pid = process_of(server)
        self._path = f"/api/gateway/{project}/things{ROUTES - 1}/7"
        self.weight = memory(self._pid, "Rss")
        self.results: list[Press] = []

    def warm(self) -> None:
        pin(self._pid, SERVER_CORES)
        press(self._port, self._path, CONNECTIONS, 1.0)

    def press(self) -> None:
        self.results.append(press(self._port, self._path, CONNECTIONS, SECONDS, watched=self._pid))


def _deploy(server: Server, folder: Path) -> None:
    client = server.client(folder, "shop")
    client.commit({"clowdy.yaml": manifest(ROUTES), "functions/hello.py": HELLO})
    client.push()
