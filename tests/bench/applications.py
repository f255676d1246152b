"""What an application with requirements costs: its pushes, its cold starts and the memory of what waits."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clowdy.runtimes.runner import find_python
from tests.bench.caller import Caller
from tests.bench.processes import below, clowdy, memory, process_of
from tests.bench.pushes import AGAINST, backend
from tests.bench.starts import start_of
from tests.bench.table import Figure, middle
from tests.harness import Client, Server

COLD = 8
FURTHER = 8
HELD_SECONDS = 60
PUSHES = 9
MEBIBYTE = 1024 * 1024

FASTAPI = """import asyncio
import os

from fastapi import FastAPI
from pydantic import BaseModel

IMPORTED = os.getpid()


class Item(BaseModel):
    name: str
    price: float = 1.0


app = FastAPI()


@app.get("/{name}/{seconds}")
async def wait(name: str, seconds: float) -> dict[str, object]:
    await asyncio.sleep(seconds)
    return {"forked": os.getpid() != IMPORTED, "item": Item(name=name)}
"""
IMAGES = """import os
import time

import numpy
import PIL.Image

IMPORTED = os.getpid()


def handler(event):
    time.sleep(float(event["params"]["seconds"]))
    numpy.asarray(PIL.Image.new("RGB", (16, 16))).mean()
    return {"forked": os.getpid() != IMPORTED}
"""


@dataclass(frozen=True, slots=True)
class _Program:
    """One thing that is slow to import."""

    name: str
    handler: str
    code: str
    requirements: str
    prefix: str

    @property
    def files(self) -> dict[str, str]:
        """A project with it often: of `many` and `more` there may be many instances, each `sole` has one, no parent."""
        rest = f"{{handler: {self.handler}, memory: 256MB, cpu: 1, timeout: {HELD_SECONDS}"
        names = ["many", "more", *(f"sole{number}" for number in range(COLD))]
        functions = [
            f"  {name}: {rest}, concurrency: {1 if name.startswith('sole') else 2 * FURTHER}}}\n" for name in names
        ]
        routes = "".join(f"  GET /{name}{self.prefix}: {name}\n" for name in names)
        return {
            "clowdy.yaml": f"functions:\n{''.join(functions)}routes:\n{routes}requirements: requirements.txt\n",
            "requirements.txt": self.requirements,
            self.handler.partition(":")[0]: self.code,
        }


_FASTAPI = _Program("FastAPI with pydantic", "web.py:app", FASTAPI, "fastapi>=0.115\npydantic>=2.9\n", "/*path")
_IMAGES = _Program("`import numpy, PIL`", "images.py:handler", IMAGES, "numpy>=2\npillow>=11\n", "/:seconds")


def requirements(folder: Path) -> Iterator[Figure]:
    """Pushes that build, that find a layer built for another project, and that change only code."""
    plain_times: list[float] = []
    code: list[float] = []
    with clowdy(folder / "server", **_index()) as server, backend(folder, "shop") as plain:
        first = server.client(folder / "one", "shop")
        first.git("remote", "add", "plain", plain("shop"))
        first.commit(_FASTAPI.files)
        plain_times.append(_push(first, "plain"))
        built = _push(first, "clowdy")
        second = server.client(folder / "two", "other")
        second.commit({**_FASTAPI.files, "note.txt": "other"})
        shared = _push(second, "clowdy")
        for number in range(PUSHES):
            first.commit({"web.py": f"{FASTAPI}\n# {number}\n"})
            for remote, times in (("clowdy", code), ("plain", plain_times)):
                times.append(_push(first, remote))
    against = middle(plain_times)
    for what, taken in (
        ("first push: fastapi and pydantic resolved, fetched, built", built),
        ("first push of another project with the same requirements", shared),
        ("code-only push of the application", middle(code)),
    ):
        shown = f"{taken:.0f} ms and {against:.0f} ms"
        yield Figure("requirements", what, AGAINST, taken / against, None, shown)


def applications(folder: Path) -> Iterator[Figure]:
    """First calls of instances with heavy imports, and what each further idle one weighs."""
    python = find_python(None, for_any_user=True).executable
    against = f"{Path(python).name} -I -S -c pass"
    for program, cold_target in ((_FASTAPI, 2.0), (_IMAGES, None)):
        place = folder / program.handler.partition(".")[0]
        with clowdy(place / "server", **_index()) as server:
            client = server.client(place / "work", "shop")
            client.commit(program.files)
            client.push()
            interpreter: list[float] = []
            alone: list[float] = []
            for number in range(COLD):
                with Caller(server.port) as caller:
                    interpreter.append(start_of(python))
                    alone.append(caller.milliseconds(f"/api/gateway/shop/sole{number}/0"))
                time.sleep(0.3)
            forked = _forked(server, python, interpreter)
            weight = _weight(server)
        start = middle(interpreter)
        for what, times, target in (
            (f"cold call of {program.name}, forked from a parent", forked, cold_target),
            ("the same, from a standby, without a parent", alone, None),
        ):
            shown = f"{middle(times):.1f} ms and {start:.1f} ms"
            yield Figure("applications", what, against, middle(times) / start, target, shown)
        what = f"a further idle instance of {program.name}, once called"
        yield Figure("applications", what, "-", weight / MEBIBYTE, 4, f"{FURTHER} instances", unit="MB")


def _forked(server: Server, python: str, interpreter: list[float]) -> list[float]:
    """First calls of further instances of `many`, while calls that wait keep the others busy."""
    path = "/api/gateway/shop/many"
    times: list[float] = []
    with Caller(server.port) as caller:
        held: list[Caller] = []
        deadline = time.monotonic() + HELD_SECONDS / 2
        while len(times) < COLD:
            # Every instance that there is waits; the next call needs a further one.
            interpreter.append(start_of(python))
            began = time.perf_counter()
            caller.ask(f"{path}/0")
            if json.loads(caller.answer())["forked"]:
                times.append((time.perf_counter() - began) * 1000)
            elif time.monotonic() > deadline:
                raise RuntimeError("no instance was forked")
            holding = Caller(server.port)
            holding.ask(f"{path}/{2 * HELD_SECONDS}")
            held.append(holding)
            # The first one's parent is prepared meanwhile.
            time.sleep(0.3 if times else 3)
        for each in held:
            each.__exit__()
    time.sleep(1)
    return times


def _weight(server: Server) -> float:
    """Bytes by which PSS grows with each further instance that has answered a call and waits."""
    path = "/api/gateway/shop/more"
    with Caller(server.port) as caller:
        caller.ask(f"{path}/0")
        caller.answer()
    # Its parent is prepared meanwhile.
    time.sleep(3)
    before = _called(server, path, 2)
    after = _called(server, path, 2 + FURTHER)
    return (after - before) / FURTHER


def _called(server: Server, path: str, count: int) -> int:
    """PSS of all that the server started, after so many calls at once have been answered."""
    callers = [Caller(server.port) for _ in range(count)]
    for caller in callers:
        caller.ask(f"{path}/1")
    for caller in callers:
        caller.answer()
        caller.__exit__()
    time.sleep(1.5)
    return sum(memory(pid) for pid in below(process_of(server)))


def _index() -> dict[str, str]:
    """Where packages come from, as the caller of the benchmarks has set it for pip or uv."""
    return {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_")) or "PROXY" in name}


def _push(client: Client, remote: str) -> float:
    began = time.perf_counter()
    client.git("push", remote, "main")
    return (time.perf_counter() - began) * 1000
