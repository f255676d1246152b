"""Git's processes as the event loop sees them.

They are started with `subprocess.Popen` (a vfork; the event loops' own starters copy the server's page tables, which
costs milliseconds) and from the main thread, since the parent-death signal comes when the starting thread ends.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from clowdy.server.errors import GitError

PIECE = 65536
STDERR_KEPT = 4096
END_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """What a process and each of its children may use; None for no limit.

    The memory limit is on data, not on the address space: packs are mapped and may be larger.
    """

    memory_bytes: int | None = None
    cpu_seconds: int | None = None


class Child:
    """One process with pipes, in a process group of its own. It dies with the server."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._stdin: int | None = os.dup(process.stdin.fileno())
        self._stdout: int | None = os.dup(process.stdout.fileno())
        self._stderr: int | None = os.dup(process.stderr.fileno())
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()
        for descriptor in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(descriptor, False)
        self._errors = bytearray()
        self._loop.add_reader(self._stderr, self._read_errors)

    @classmethod
    def start(
        cls,
        setpriv: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        limits: ProcessLimits | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Self:
        """Starts it; it reads nothing before its limits are set, as long as it begins by reading its input."""
        process = subprocess.Popen(
            [setpriv, "--pdeathsig", "KILL", "--", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env=dict(environment),
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
        if limits is not None:
            _limit(process.pid, limits)
        return cls(process)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends what is left of it and closes its pipes."""
        self.close_input()
        descriptor, self._stdout = self._stdout, None
        self._close(descriptor)
        ending = asyncio.ensure_future(self._end())
        try:
            await asyncio.shield(ending)
        finally:
            self._close_errors()

    @property
    def errors(self) -> str:
        """The end of what it wrote to standard error."""
        return self._errors.decode(errors="replace").strip()

    async def write(self, data: bytes) -> bool:
        """Whether all of `data` was taken: False when it no longer reads."""
        view = memoryview(data)
        while view:
            if self._stdin is None:
                return False
            try:
                view = view[os.write(self._stdin, view) :]
            except BlockingIOError:
                await self._ready(self._stdin, writing=True)
            except BrokenPipeError:
                return False
        return True

    def close_input(self) -> None:
        """Tells it that nothing more comes."""
        descriptor, self._stdin = self._stdin, None
        self._close(descriptor)

    async def read(self) -> bytes:
        """The next piece of its output, b"" at the end."""
        while self._stdout is not None:
            try:
                return os.read(self._stdout, PIECE)
            except BlockingIOError:
                await self._ready(self._stdout, writing=False)
        return b""

    async def wait(self) -> int:
        """Its exit status, when it has ended."""
        while self._process.poll() is None:
            try:
                descriptor = os.pidfd_open(self._process.pid)
            except OSError:
                # A sandboxed kernel without it: a thread waits.
                return await asyncio.to_thread(self._process.wait)
            try:
                await self._ready(descriptor, writing=False)
            finally:
                os.close(descriptor)
        return self._process.returncode

    async def _end(self) -> None:
        # Asked first, so that git takes its temporary files with it.
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                pass
            try:
                async with asyncio.timeout(END_SECONDS):
                    await self.wait()
            except TimeoutError:
                continue

    def _read_errors(self) -> None:
        if self._stderr is None:
            return
        try:
            piece = os.read(self._stderr, PIECE)
        except BlockingIOError:
            return
        if not piece:
            self._close_errors()
            return
        self._errors += piece
        del self._errors[:-STDERR_KEPT]

    def _close_errors(self) -> None:
        descriptor, self._stderr = self._stderr, None
        self._close(descriptor)

    async def _ready(self, descriptor: int, *, writing: bool) -> None:
        ready = self._loop.create_future()
        add, remove = (
            (self._loop.add_writer, self._loop.remove_writer)
            if writing
            else (self._loop.add_reader, self._loop.remove_reader)
        )
        add(descriptor, _settle, ready)
        try:
            await ready
        finally:
            remove(descriptor)

    def _close(self, descriptor: int | None) -> None:
        if descriptor is not None:
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)
            os.close(descriptor)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _limit(pid: int, limits: ProcessLimits) -> None:
    try:
        if limits.memory_bytes is not None:
            resource.prlimit(pid, resource.RLIMIT_DATA, (limits.memory_bytes, limits.memory_bytes))
        if limits.cpu_seconds is not None:
            resource.prlimit(pid, resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds))
    except ProcessLookupError:
        pass


async def run(
    setpriv: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    data: bytes = b"",
    limits: ProcessLimits | None = None,
    pass_fds: Sequence[int] = (),
    most: int = 16 * 1024 * 1024,
) -> bytes:
    """What a process wrote; raises GitError with its words when it fails or writes more than `most` bytes."""
    child = Child.start(setpriv, arguments, environment, limits=limits, pass_fds=pass_fds)
    async with child:
        await child.write(data)
        child.close_input()
        output = bytearray()
        while piece := await child.read():
            output += piece
            if len(output) > most:
                raise GitError(f"git wrote more than {most} bytes")
        if await child.wait() != 0:
            raise GitError(child.errors or "git failed without a word")
        return bytes(output)
