"""Starts processes through one small resident process, so that the big server never forks."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clowdy.runtimes.api import DriverUnavailable

_WORKER = Path(__file__).with_name("launch_worker.py")


@dataclass(frozen=True, slots=True)
class Command:
    """What to start. `descriptors` become 3, 4, … of the program, `output` becomes 1 and 2.

    `join` are files that take a process into a control group, `limits` pairs of `resource.RLIMIT_*` and value. With a
    `gate` all is prepared and the program is run once a byte can be read from there; the end of the file ends it.
    """

    argv: Sequence[str]
    descriptors: Sequence[int]
    output: int
    uid: int | None = None
    join: Sequence[str] = ()
    limits: Sequence[tuple[int, int]] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    gate: int | None = None


class Process:
    """One started process tree, by its first process."""

    def __init__(self, launcher: Launcher, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._launcher = launcher
        self.name = name
        self.started: asyncio.Future[int] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()

    @property
    def pid(self) -> int | None:
        """The first process's id, while it is known to exist."""
        if self.started.done() and not self.started.cancelled() and not self.ended.done():
            return None if self.started.exception() else self.started.result()
        return None

    async def wait(self, seconds: float) -> int | None:
        """The exit status (negative: a signal), or None when it has not ended within `seconds`."""
        await asyncio.wait([self.ended], timeout=seconds)
        return self.ended.result() if self.ended.done() else None

    def kill(self, *, root: bool) -> None:
        """Kills what it started, and itself with `root`; else it has a second to end after its children."""
        if not self.ended.done():
            self._launcher.send({"do": "kill", "id": self.name, "root": root}, ())


class Launcher:
    """The server's end of the resident process."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._socket: socket.socket | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._processes: dict[str, Process] = {}
        self._opening = asyncio.Lock()
        self._backlog: list[tuple[bytes, list[int]]] = []

    async def open(self) -> None:
        """Starts the resident process."""
        self._loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1024 * 1024)
            # A session of its own: Ctrl-C at the terminal is for the server to handle, which lets calls finish.
            self._child = subprocess.Popen(  # noqa: ASYNC220  (once, and a few milliseconds)
                [self._python, "-I", "-S", str(_WORKER), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env={},
                cwd="/",
            )
        finally:
            theirs.close()
        ours.setblocking(False)
        self._socket = ours
        self._loop.add_reader(ours, self._readable)

    async def reopen(self) -> None:
        """Starts the resident process again if it ended."""
        async with self._opening:
            if not self.alive:
                await self.close()
                await self.open()

    @property
    def alive(self) -> bool:
        """Whether the resident process is there."""
        return self._socket is not None

    def start(self, name: str, command: Command) -> Process:
        """Starts `command` under a `name` that is used once; its fate is told by the returned value."""
        assert self._loop is not None
        process = Process(self, name, self._loop)
        self._processes[name] = process
        self.send(
            {
                "do": "start",
                "id": name,
                "argv": list(command.argv),
                "uid": command.uid,
                "join": list(command.join),
                "limits": [list(pair) for pair in command.limits],
                "env": dict(command.env),
                "held": command.gate is not None,
            },
            (*command.descriptors, *(() if command.gate is None else (command.gate,)), command.output),
        )
        return process

    def send(self, request: Mapping[str, object], descriptors: Sequence[int]) -> None:
        """Sends one request, now or as soon as there is room."""
        assert self._loop is not None
        data = json.dumps(request).encode()
        if self._socket is None:
            self._lost_one(str(request["id"]))
            return
        if not self._backlog:
            try:
                socket.send_fds(self._socket, [data], list(descriptors))
                return
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._writable)
            except OSError:
                self._lost()
                return
        # The caller closes its descriptors once this returns.
        self._backlog.append((data, [os.dup(descriptor) for descriptor in descriptors]))

    def _writable(self) -> None:
        assert self._loop is not None
        assert self._socket is not None
        while self._backlog:
            data, descriptors = self._backlog[0]
            try:
                socket.send_fds(self._socket, [data], descriptors)
            except BlockingIOError:
                return
            except OSError:
                self._lost()
                return
            del self._backlog[0]
            for descriptor in descriptors:
                os.close(descriptor)
        self._loop.remove_writer(self._socket)

    def _readable(self) -> None:
        while self._socket is not None:
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._lost()
                return
            self._told(json.loads(data))

    def _told(self, answer: dict[str, object]) -> None:
        name = str(answer["id"])
        process = self._processes.get(name)
        if process is None:
            return
        if isinstance(pid := answer.get("pid"), int):
            process.started.set_result(pid)
            return
        del self._processes[name]
        if isinstance(error := answer.get("error"), str):
            process.started.set_exception(DriverUnavailable(error))
            process.started.exception()  # whoever awaits it gets it; nobody has to
            process.ended.set_result(127)
        elif isinstance(status := answer.get("exit"), int):
            process.ended.set_result(status)

    def _lost(self) -> None:
        """The resident process is gone, and with it, by their parent-death signal, all that it started."""
        if self._socket is not None:
            assert self._loop is not None
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None
        for _, descriptors in self._backlog:
            for descriptor in descriptors:
                os.close(descriptor)
        self._backlog.clear()
        for name in list(self._processes):
            self._lost_one(name)

    def _lost_one(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is None:
            return
        if not process.started.done():
            process.started.set_exception(DriverUnavailable("the launcher ended"))
            process.started.exception()
        if not process.ended.done():
            process.ended.set_result(137)

    async def close(self) -> None:
        """Ends the resident process and everything that it started."""
        self._lost()
        child, self._child = self._child, None
        if child is not None:
            await asyncio.get_running_loop().run_in_executor(None, child.wait)
