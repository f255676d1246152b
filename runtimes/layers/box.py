"""Runs one program under the limits of a build, isolated as it is told, and says how it ended."""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clowdy.runtimes.launcher import Command, Launcher, Process
from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.layers.lines import Lines
from clowdy.runtimes.layers.outcome import Outcome
from clowdy.runtimes.layers.watch import Disk, Progress, Stop, processor_ticks
from clowdy.runtimes.sandbox.cgroups import Group, Groups
from clowdy.runtimes.sandbox.seccomp import filter_file
from clowdy.runtimes.sandbox.watcher import memory_of
from clowdy.schema.units import MEBIBYTE

_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Job:
    """`argv` with nothing but `env`, writing below `scratch`; `env` may hold credentials of the index."""

    argv: Sequence[str]
    scratch: Path
    env: Mapping[str, str] = field(repr=False)
    uid: int | None = None
    filter: bytes | None = None


class Box:
    """Runs jobs. `python` runs the launcher, `groups` limit memory; without them memory is watched."""

    def __init__(self, python: str, limits: BuildLimits, groups: Groups | None) -> None:
        self._python = python
        self._limits = limits
        self._groups = groups

    async def run(self, job: Job, on_line: Callable[[str], None]) -> Outcome:
        """Runs `job` to its end. When this returns or raises, nothing of it is left running."""
        # One of its own for each: with it goes everything that it started, and none is kept while nothing is built.
        launcher = Launcher(self._python)
        await launcher.open()
        try:
            return await self._run(launcher, job, on_line)
        finally:
            await asyncio.shield(launcher.close())

    async def _run(self, launcher: Launcher, job: Job, on_line: Callable[[str], None]) -> Outcome:
        name = secrets.token_hex(6)
        group = self._groups.make(name, self._limits.processes) if self._groups is not None else None
        if group is not None:
            group.limit(self._limits.memory_bytes, self._limits.cpu)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reading, False)
        rules = None if job.filter is None else filter_file(job.filter)
        process = launcher.start(
            name,
            Command(
                argv=job.argv,
                descriptors=() if rules is None else (rules,),
                output=writing,
                uid=job.uid,
                join=group.join if group is not None else (),
                limits=(
                    (resource.RLIMIT_NOFILE, self._limits.open_files),
                    (resource.RLIMIT_FSIZE, self._limits.layer_bytes + MEBIBYTE),
                    (resource.RLIMIT_CORE, 0),
                    (resource.RLIMIT_STACK, 8 * MEBIBYTE),
                ),
                env=job.env,
            ),
        )
        os.close(writing)
        if rules is not None:
            os.close(rules)
        output = _Output(reading, on_line)
        try:
            stop = await self._watch(process, group, job, output)
            await self._end(process, group)
            lines = output.drain()
            if group is not None and group.oom_kills() > 0:
                stop = Stop.MEMORY
            return Outcome(process.ended.result(), lines, stop)
        finally:
            await asyncio.shield(self._end(process, group))
            output.close()
            if group is not None:
                await asyncio.shield(_removed(group))

    async def _watch(self, process: Process, group: Group | None, job: Job, output: _Output) -> Stop | None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        progress = Progress(started)
        output.on_sign = lambda: progress.printed(loop.time())
        disk = await loop.run_in_executor(None, Disk, job.scratch, self._limits, started)
        while await process.wait(_LOOK_SECONDS) is None:
            now = loop.time()
            if now - started > self._limits.seconds:
                return Stop.TIME
            if (pid := process.pid) is not None:
                progress.worked(await loop.run_in_executor(None, processor_ticks, pid), now)
                if group is None and await loop.run_in_executor(None, memory_of, pid) > self._limits.memory_bytes:
                    return Stop.MEMORY
            if progress.idle_seconds(now) > self._limits.stall_seconds:
                return Stop.STALLED
            if (found := await loop.run_in_executor(None, disk.look, now)) is not None:
                return found
        return None

    async def _end(self, process: Process, group: Group | None) -> None:
        if group is not None:
            pause = 0.001
            while group.kill():
                await asyncio.sleep(pause)
                pause = min(pause * 2, 0.05)
        process.kill(root=group is not None)
        await asyncio.shield(process.ended)


class _Output:
    """The lines of a pipe, as they come."""

    def __init__(self, descriptor: int, on_line: Callable[[str], None]) -> None:
        self.on_sign: Callable[[], None] = lambda: None
        self._lines = Lines(on_line)
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._readable)
        self._open = True

    def _readable(self) -> bool:
        try:
            data = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._descriptor)
            return False
        self.on_sign()
        self._lines.feed(data)
        return True

    def drain(self) -> tuple[str, ...]:
        """Takes what is left, once nobody writes any more; the last lines."""
        while self._readable():
            pass
        return self._lines.end()

    def close(self) -> None:
        """Lets go of the pipe."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)


async def _removed(group: Group) -> None:
    for _ in range(100):
        if group.remove():
            return
        await asyncio.sleep(0.01)
