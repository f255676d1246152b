"""Whole pushes as their user sees them, against a git server that deploys nothing."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.processes import clowdy, module, reference
from tests.bench.table import Figure, middle, paired
from tests.harness import ADMIN, HELLO, MANIFEST, Client

SMALL_ROUNDS = 15
LARGE_ROUNDS = 7
FILES = 20_000
FOLDERS = 200
AGAINST = "git http-backend behind aiohttp"


def small(folder: Path) -> Iterator[Figure]:
    """A push that changes the code of one function, and a rollback by push."""
    pushes: tuple[list[float], list[float]] = ([], [])
    rollbacks: tuple[list[float], list[float]] = ([], [])
    with clowdy(folder / "server") as server, backend(folder, "shop") as plain:
        client = server.client(folder / "work", "shop")
        client.git("remote", "add", "plain", plain("shop"))
        client.hello("Hello 0")
        client.push()
        client.git("push", "-q", "plain", "main", "main:live")
        for number in range(1, SMALL_ROUNDS + 1):
            client.hello(f"Hello {number}")
            for remote, times in _in_turn(number, pushes):
                times.append(_push(client, remote, "main"))
        client.git("fetch", "-q", "clowdy")
        for number in range(1, SMALL_ROUNDS + 1):
            release = f"deploy/{1 + number % 2}"
            for remote, times in _in_turn(number, rollbacks):
                # A branch takes no tag from git itself.
                times.append(_push(client, remote, f"+{release}^{{}}:live" if remote == "plain" else f"{release}:live"))
    yield _figure("push", "code-only push to live", pushes, 2.2)
    yield _figure("push", "rollback by push", rollbacks, 1.6)


def large(folder: Path) -> Iterator[Figure]:
    """A push that changes one file of many."""
    pushes: tuple[list[float], list[float]] = ([], [])
    with clowdy(folder / "server") as server, backend(folder, "shop") as plain:
        client = server.client(folder / "work", "shop")
        client.git("remote", "add", "plain", plain("shop"))
        client.git("config", "gc.auto", "0")
        each = FILES // FOLDERS
        client.write({f"data/{number // each}/{number % each}.txt": f"{number}\n" for number in range(FILES)})
        manifest = MANIFEST.replace("hello: {}", "hello: {source: api, handler: hello.py:handler}")
        client.commit({"clowdy.yaml": manifest, "api/hello.py": HELLO})
        client.push()
        client.git("push", "-q", "plain", "main")
        for number in range(1, LARGE_ROUNDS + 1):
            client.write({"api/hello.py": HELLO.replace("Hello", f"Hello {number}")})
            client.git("commit", "-q", "-a", "-m", f"Hello {number}")
            for remote, times in _in_turn(number, pushes):
                times.append(_push(client, remote, "main"))
    yield _figure("large", f"one changed file of {FILES:,}", pushes, 2.5)


class _Backend:
    """The reference, with an empty repository of each name."""

    def __init__(self, folder: Path, *names: str) -> None:
        self._folder = folder / "plain"
        for name in names:
            subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(self._folder / f"{name}.git")], check=True)
        self._running = reference(*module("backend", "PORT", str(self._folder), ADMIN))

    def __enter__(self) -> _Backend:
        self._port = self._running.__enter__().port
        return self

    def __exit__(self, *error: object) -> None:
        self._running.__exit__(*error)  # type: ignore[arg-type]

    def __call__(self, name: str) -> str:
        return f"http://any:{ADMIN}@127.0.0.1:{self._port}/git/{name}.git"


backend = _Backend


def _in_turn(number: int, times: tuple[list[float], list[float]]) -> list[tuple[str, list[float]]]:
    """Both remotes, ours first in every other round."""
    ours, plain = times
    order = [("clowdy", ours), ("plain", plain)]
    return order if number % 2 else order[::-1]


def _push(client: Client, remote: str, ref: str) -> float:
    began = time.perf_counter()
    client.git("push", remote, ref)
    return (time.perf_counter() - began) * 1000


def _figure(row: str, what: str, times: tuple[list[float], list[float]], target: float) -> Figure:
    ours, plain = times
    shown = f"{middle(ours):.0f} ms and {middle(plain):.0f} ms"
    return Figure(row, what, AGAINST, paired(ours, plain), target, shown)
