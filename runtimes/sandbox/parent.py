"""Prepared parents: one sandbox in which a version is imported once, and the instances that are forked from it.

What a child shares with its parent is the sandbox: user, namespaces, code, /tmp. Its limits are those of a control
group of its own, which it enters by itself before anything else: it is handed the group's files, so that no process id
that may by then be another's has to be believed. By that group alone it is killed. The parent's end is its children's
too, by the kernel: it is the first process of their namespace but for bubblewrap's own, which ends with it.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
from collections.abc import Callable

from clowdy.runtimes.api import (
    Application,
    DriverUnavailable,
    Exit,
    Instance,
    Limits,
    Parent,
    Ready,
    StartFailed,
    StartReason,
)
from clowdy.runtimes.budget import STANDBY_BYTES
from clowdy.runtimes.inside import frames
from clowdy.runtimes.instance import RunnerInstance
from clowdy.runtimes.sandbox.cell import SandboxCell
from clowdy.runtimes.sandbox.cgroups import Groups
from clowdy.runtimes.sandbox.confined import Confined
from clowdy.runtimes.wire import Frame, dump

_KILLED = 137
_LEAST_CPU = 1.0


class SandboxParent:
    """Implements `Parent`; one that is `open`."""

    def __init__(
        self,
        application: Application,
        instance: RunnerInstance,
        cell: SandboxCell,
        groups: Groups,
        on_gone: Callable[[SandboxParent], None],
    ) -> None:
        self._application = application
        self._instance = instance
        self._cell = cell
        self._groups = groups
        self._on_gone = on_gone
        self._children: dict[str, tuple[RunnerInstance, ChildCell]] = {}
        self._spent = False
        self.on_exit: Callable[[Parent], None] | None = None
        instance.on_frame = self._said
        instance.on_exit = self._ended

    async def open(self, timeout_seconds: float) -> None:
        """Imports the version; raises as `Parents.prepare` does, and is over then."""
        await self._instance.prepare(self._application, timeout_seconds)
        # What it takes to fork comes on top of what the import may take; the children have limits of their own.
        limits = self._application.limits
        self._cell.widen(limits.memory_bytes + STANDBY_BYTES, max(limits.cpu, _LEAST_CPU))

    @property
    def alive(self) -> bool:
        return self._instance.alive and not self._spent

    @property
    def children(self) -> int:
        return len(self._children)

    async def fork(self, timeout_seconds: float) -> tuple[Instance, Ready]:
        if not self.alive:
            raise DriverUnavailable("the parent forks no more")
        limits = self._application.limits
        name = secrets.token_hex(6)
        group = self._groups.make(name, Limits().processes)
        group.limit(limits.memory_bytes, limits.cpu)
        channel, theirs = socket.socketpair()
        output, output_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(output, False)
        channel.setblocking(False)
        cell = ChildCell(self._cell, Confined(group), lambda: self._child_gone(name))
        child = RunnerInstance(name, self._instance.kind, cell, output, lambda instance: None)
        self._children[name] = child, cell

        async def begin() -> None:
            await child.attach(channel)
            child.watch_memory()
            descriptors = [theirs.fileno(), output, output_end]
            try:
                descriptors += [os.open(path, os.O_WRONLY | os.O_CLOEXEC) for path in group.join]
                head = {"name": name, "tmp": _folder(name), "descriptors": len(descriptors)}
                self._instance.send_with(frames.FORK, dump(head), descriptors)
            except OSError as error:
                raise DriverUnavailable(f"the parent could not be asked for an instance: {error}") from error
            finally:
                theirs.close()
                for descriptor in descriptors[2:]:
                    os.close(descriptor)

        ready = await child.become(begin, timeout_seconds)
        if not group.count():
            await child.kill()
            raise StartFailed(StartReason.RUNTIME, "a forked instance is not in its control group")
        return child, ready

    async def kill(self) -> None:
        await self._instance.kill()
        # The kernel ended them; what belonged to them goes now.
        await asyncio.gather(*(child.kill() for child, _ in list(self._children.values())))

    def _said(self, frame: Frame) -> bool:
        """A frame of the parent's; False where it is not one that the runner writes."""
        try:
            said = json.loads(frame.head)
            if frame.kind == frames.CHILD_ENDED:
                status = int(said["status"])
                if child := self._children.get(said["name"]):
                    child[1].process.end(status if -64 <= status <= 255 else _KILLED)
            elif frame.kind == frames.CLEARED:
                # What is left takes room from all: no more children, and it goes with the last.
                self._spent = self._spent or said["complete"] is not True
            else:
                return False
        except (ValueError, KeyError, TypeError):
            return False
        return True

    def _child_gone(self, name: str) -> None:
        del self._children[name]
        if self._instance.alive:
            try:
                self._instance.send_with(frames.CLEAR, dump({"tmp": _folder(name)}), ())
            except OSError:
                self._spent = True

    def _ended(self, instance: Instance, reason: Exit) -> None:
        for _, cell in self._children.values():
            cell.process.end(_KILLED)
        self._on_gone(self)
        if self.on_exit is not None:
            self.on_exit(self)


class ChildCell:
    """Implements `instance.Cell` for one child."""

    def __init__(self, parent: SandboxCell, confined: Confined, on_gone: Callable[[], None]) -> None:
        self._parent = parent
        self._confined = confined
        self._on_gone = on_gone
        self.process = ForkedProcess()

    @property
    def app(self) -> str:
        return self._parent.app

    @property
    def packages(self) -> str | None:
        return self._parent.packages

    @property
    def offline(self) -> bool:
        return self._parent.offline

    def fill(self, application: Application) -> None:
        raise RuntimeError("a child has its code from its parent")

    def watch_memory(self, on_short: Callable[[], None]) -> None:
        self._confined.watch(on_short)

    def out_of_memory(self) -> bool:
        return self._confined.out_of_memory()

    @property
    def throttled(self) -> bool:
        return self._confined.throttled

    async def destroy(self) -> None:
        await self._confined.kill()
        await self._confined.remove()
        self._on_gone()


class ForkedProcess:
    """A child's first process, whose end its parent tells."""

    def __init__(self) -> None:
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def end(self, status: int) -> None:
        """It has ended; the first report counts."""
        if not self._ended.done():
            self._ended.set_result(status)

    async def wait(self, seconds: float) -> int | None:
        """See `instance.Ending`."""
        await asyncio.wait([self._ended], timeout=seconds)
        return self._ended.result() if self._ended.done() else None


def _folder(name: str) -> str:
    """A child's folder for temporary files, as it sees it."""
    return f"/tmp/{name}"  # noqa: S108  (the sandbox's own)
