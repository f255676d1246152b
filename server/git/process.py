"""Git's processes as the event loop sees them.

They are started with `subprocess.Popen` (a vfork; uvloop's own starter copies the server's page tables, which costs
milliseconds) and from the main thread, since the parent-death signal comes when the starting thread ends.
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
from clowdy.server.git.pipes import PipeReader, PipeWriter

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
    """One process with pipes, in a process group of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self._process = process
        self._input = PipeWriter(os.dup(process.stdin.fileno()))
        self._output = PipeReader(os.dup(process.stdout.fileno()))
        self._stderr = PipeReader(os.dup(process.stderr.fileno()))
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()
        self._errors = bytearray()
        self._listening = asyncio.create_task(self._read_errors())

    @classmethod
    def start(
        cls,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        limits: ProcessLimits | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Self:
        """Starts it; its limits hold before it reads anything, as long as it begins by reading its input."""
        process = subprocess.Popen(
            arguments,
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
        self._input.close()
        self._output.close()
        try:
            await asyncio.shield(asyncio.ensure_future(self._end()))
        finally:
            self._stderr.close()

    @property
    def errors(self) -> str:
        """The end of what it wrote to standard error."""
        return self._errors.decode(errors="replace").strip()

    async def write(self, data: bytes) -> bool:
        """Whether all of `data` was taken: False when it no longer reads."""
        return await self._input.write(data)

    def close_input(self) -> None:
        """Tells it that nothing more comes."""
        self._input.close()

    async def read(self) -> bytes:
        """The next piece of its output, b"" at the end."""
        return await self._output.read()

    async def wait(self) -> int:
        """Its exit status, when it has ended and its last words are in."""
        await self._exit()
        await asyncio.wait([self._listening], timeout=END_SECONDS)
        return self._process.returncode

    async def _exit(self) -> None:
        while self._process.poll() is None:
            try:
                descriptor = PipeReader(os.pidfd_open(self._process.pid))
            except OSError:
                # A kernel without it: a thread waits.
                await asyncio.to_thread(self._process.wait)
                return
            try:
                await descriptor.readable()
            finally:
                descriptor.close()

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
                    await self._exit()
            except TimeoutError:
                continue

    async def _read_errors(self) -> None:
        while piece := await self._stderr.read():
            self._errors += piece
            del self._errors[:-STDERR_KEPT]


def dying_with_us(setpriv: str, arguments: Sequence[str]) -> list[str]:
    """A command whose process is killed when the thread that starts it ends, however that ends."""
    return [setpriv, "--pdeathsig", "KILL", "--", *arguments]


def _limit(pid: int, limits: ProcessLimits) -> None:
    try:
        if limits.memory_bytes is not None:
            resource.prlimit(pid, resource.RLIMIT_DATA, (limits.memory_bytes, limits.memory_bytes))
        if limits.cpu_seconds is not None:
            resource.prlimit(pid, resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds))
    except ProcessLookupError:
        pass


async def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    data: bytes = b"",
    limits: ProcessLimits | None = None,
    pass_fds: Sequence[int] = (),
    most: int = 16 * 1024 * 1024,
) -> bytes:
    """What a process wrote; raises GitError with its words when it fails or writes more than `most` bytes."""
    child = Child.start(arguments, environment, limits=limits, pass_fds=pass_fds)
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
