"""The processes that are measured: started, pinned to cores, weighed, and ended by their ids."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness import Server, free_port

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
_TICKS = os.sysconf("SC_CLK_TCK")

_cores = sorted(os.sched_getaffinity(0))
SERVER_CORES = {_cores[0]}
LOAD_CORES = {_cores[-1]}
"""Where a server's own process runs and where the load comes from; the same core when there is only one."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A running reference server."""

    port: int
    pid: int


@contextlib.contextmanager
def reference(*command: str, environment: Mapping[str, str] | None = None) -> Iterator[Reference]:
    """A server that gets its port in place of `PORT`, until the block ends."""
    port = free_port()
    process = subprocess.Popen(
        [part.replace("PORT", str(port)) for part in command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _wait_for(port, process)
        yield Reference(port, process.pid)
    finally:
        _end(process)


def module(name: str, *arguments: str) -> list[str]:
    """The command of one of the references that are modules here."""
    return [sys.executable, "-m", f"tests.bench.references.{name}", *arguments]


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    said = process.stderr.read1(4096).decode(errors="replace") if process.stderr and process.poll() is not None else ""  # type: ignore[attr-defined]
    raise RuntimeError(f"{process.args!r} does not listen: {said}")


def _end(process: subprocess.Popen[bytes]) -> None:
    pids = [process.pid, *below(process.pid)]
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


@contextlib.contextmanager
def clowdy(folder: Path, *, options: Sequence[str] = (), **environment: str) -> Iterator[Server]:
    """A server with the standbys of a machine with 7 GB of memory or more, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(folder, environment={"CLOWDY_STANDBYS": "16", **environment}, options=options)
    try:
        server.start()
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()


def process_of(server: Server) -> int:
    """The id of the server's own process."""
    assert server.process is not None
    return server.process.pid


def pin(pid: int, cores: set[int]) -> None:
    """Binds every thread of one process; what it starts from them later stays there too."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task), cores)


def below(pid: int) -> list[int]:
    """Every process that descends from `pid`."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += [int(child), *below(int(child))]
    return found


def command_of(pid: int) -> str:
    """What a process was started with, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def cpu_seconds(pid: int) -> float:
    """User and system time of one process with its threads."""
    fields = Path(f"/proc/{pid}/schedstat").read_text().split() if _one_thread(pid) else None
    if fields is not None:
        return int(fields[0]) / 1e9
    return sum(_thread_seconds(pid, task) for task in os.listdir(f"/proc/{pid}/task"))


def _one_thread(pid: int) -> bool:
    return len(os.listdir(f"/proc/{pid}/task")) == 1


def _thread_seconds(pid: int, task: str) -> float:
    try:
        return int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return 0.0


def memory(pid: int, what: str = "Pss") -> int:
    """Bytes that one process holds, shared pages divided among those who share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == what:
            return int(rest.split()[0]) * 1024
    raise RuntimeError(f"process {pid} has no {what}")


@dataclass(frozen=True, slots=True)
class Press:
    """How one run of load went; times in milliseconds."""

    requests: int
    failures: int
    seconds: float
    p50: float
    p90: float
    p99: float
    cpu: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def rate_by_cpu(self) -> float:
        """Requests a second of the server process's time."""
        return self.requests / self.cpu


def press(port: int, path: str, connections: int, seconds: float, *, watched: int | None = None) -> Press:
    """Loads a server from a process of its own; `watched` is the server's process."""
    before = cpu_seconds(watched) if watched is not None else 0.0
    command = [sys.executable, "-m", "tests.bench.load", str(port), path, str(connections), str(seconds)]
    done = subprocess.run(
        ["taskset", "-c", ",".join(map(str, LOAD_CORES)), *command],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
        timeout=seconds + 60,
    )
    said = json.loads(done.stdout)
    cpu = cpu_seconds(watched) - before if watched is not None else float("nan")
    return Press(**said, cpu=cpu)


class Load:
    """Load beside what else happens, until the block ends; `result` is then known."""

    def __init__(self, port: int, path: str, connections: int) -> None:
        self._command = [sys.executable, "-m", "tests.bench.load", str(port), path, str(connections), "3600"]
        self.result: Press | None = None

    def __enter__(self) -> Load:
        self._process = subprocess.Popen(self._command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        return self

    def __exit__(self, kind: type[BaseException] | None, *more: object) -> None:
        self._process.terminate()
        said = self._process.communicate(timeout=60)[0]
        if kind is None:
            found: dict[str, Any] = json.loads(said)
            self.result = Press(**found, cpu=float("nan"))
