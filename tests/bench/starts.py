"""Cold starts against the interpreter's own start, and what an idle instance weighs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from clowdy.runtimes.runner import find_python
from tests.bench.caller import Caller, slowest
from tests.bench.processes import below, clowdy, command_of, memory, process_of
from tests.bench.table import Figure, middle
from tests.harness import HELLO, Server

SINGLE = 24
AT_ONCE = 16
ROUNDS = 3
MEBIBYTE = 1024 * 1024


def starts(folder: Path) -> Iterator[Figure]:
    """The first call of versions that nobody called before."""
    python = find_python(None, for_any_user=True).executable
    against = f"{Path(python).name} -I -S -c pass"
    with clowdy(folder / "ready") as server, clowdy(folder / "none", CLOWDY_STANDBYS="0") as bare:
        deploy(server, folder / "one", SINGLE + AT_ONCE * ROUNDS)
        deploy(bare, folder / "two", SINGLE)
        standbys = _settled(server)
        with_standby: list[float] = []
        without: list[float] = []
        interpreter: list[float] = []
        with Caller(server.port) as caller, Caller(bare.port) as other:
            for number in range(SINGLE):
                interpreter.append(start_of(python))
                with_standby.append(caller.milliseconds(path_of(number)))
                _settled(server, standbys + number + 1)
                interpreter.append(start_of(python))
                without.append(other.milliseconds(path_of(number)))
        weights = [sum(map(memory, [first, *below(first)])) for first in _instances(bare)]
        slow: list[float] = []
        for turn in range(ROUNDS):
            _settled(server, standbys + SINGLE + AT_ONCE * turn)
            numbers = range(SINGLE + AT_ONCE * turn, SINGLE + AT_ONCE * (turn + 1))
            interpreter.append(start_of(python))
            callers = [Caller(server.port) for _ in numbers]
            slow.append(slowest(callers, [path_of(number) for number in numbers]))
            for caller in callers:
                caller.__exit__()
    start = middle(interpreter)

    def figure(what: str, values: list[float], target: float) -> Figure:
        taken = middle(values)
        return Figure("starts", what, against, taken / start, target, f"{taken:.1f} ms and {start:.1f} ms")

    yield figure("cold start p50, a standby at hand", with_standby, 0.5)
    yield figure("cold start p50, no standby left", without, 2.0)
    yield figure(f"16 cold versions at once, the slowest ({standbys} standbys)", slow, 6)
    yield Figure(
        "starts",
        "an idle instance, PSS of sandbox and runner",
        "-",
        middle(weights) / MEBIBYTE,
        15,
        f"{len(weights)} instances",
        unit="MB",
    )


def deploy(server: Server, folder: Path, functions: int) -> None:
    """Functions that are tried together in one instance, so that each is cold when it is called."""
    names = [f"f{number}" for number in range(functions)]
    listed = "".join(f"  {name}: {{handler: functions/hello.py:handler, memory: 64MB}}\n" for name in names)
    routed = "".join(f"  GET /{name}: {name}\n" for name in names)
    client = server.client(folder, "shop")
    client.commit({"clowdy.yaml": f"functions:\n{listed}routes:\n{routed}", "functions/hello.py": HELLO})
    client.push()


def path_of(number: int) -> str:
    """Where one of the functions answers."""
    return f"/api/gateway/shop/f{number}"


def start_of(python: str) -> float:
    """Milliseconds from nothing to the end of an interpreter that does nothing."""
    began = time.perf_counter()
    pid = os.posix_spawn(python, [python, "-I", "-S", "-c", "pass"], {})
    os.waitpid(pid, 0)
    return (time.perf_counter() - began) * 1000


def _instances(server: Server) -> list[int]:
    """The first process of every instance, standbys too."""
    found: list[int] = []
    for child in below(process_of(server)):
        if "launch_worker" in command_of(child):
            children = Path(f"/proc/{child}/task/{child}/children").read_text()
            found += [int(each) for each in children.split()]
    return found


def _settled(server: Server, wanted: int | None = None) -> int:
    """Waits until there are as many instances as wanted, or no more come; how many there are."""
    last, since = -1, time.monotonic()
    deadline = since + 30
    while time.monotonic() < deadline:
        found = len(_instances(server))
        if found != last:
            last, since = found, time.monotonic()
        elif time.monotonic() - since > (0.03 if wanted is not None and found >= wanted else 0.5):
            return found
        time.sleep(0.005)
    raise RuntimeError(f"{last} instances after 30 s")
