"""A driver whose instances are Python objects: exact, instant, and as strict as the real ones are.

`behaviours` maps a function's name to what its handler does; a start or a call that is held goes on when the test
says so. One that is `unavailable` can be opened once that is taken back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from clowdy.runtimes.api import (
    Application,
    Call,
    Code,
    CodeFile,
    DriverUnavailable,
    Exit,
    FailureCode,
    Handler,
    Instance,
    Kind,
    Limits,
    Network,
    Parent,
    Promise,
    Ready,
    Shape,
    StartFailed,
    StartReason,
    kind_of,
)
from clowdy.schema.units import MEBIBYTE


@dataclass(slots=True)
class Behaviour:
    """What a function does: `fails` at its start, `held` there until set, answers `answer(body)`.

    One that takes `import_ms` to import may be worth a parent; one that does not `forks` fails to, and `forking` holds
    its forks.
    """

    fails: StartFailed | None = None
    held: asyncio.Event | None = None
    broken: bool = False
    dies_at_once: bool = False
    shape: Shape = Shape.HANDLER
    import_ms: float = 1.0
    forks: bool = True
    forking: asyncio.Event | None = None
    answer: Callable[[bytes], bytes] = field(default=lambda body: body)


@dataclass(slots=True)
class MemoryDriver:
    """Implements `clowdy.runtimes.api.Driver`."""

    name: str = "memory"
    python: str = "3.11.2"
    base: str = ""
    trouble: str | None = None
    promises: frozenset[Promise] = frozenset()
    notice: str | None = None
    no_network: str | None = None
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    instances: list[MemoryInstance] = field(default_factory=list)
    unavailable: str = ""
    passing: bool = False
    missing: set[str] = field(default_factory=set)
    asked: list[Kind] = field(default_factory=list)
    gate: asyncio.Event | None = None
    starting: int = 0
    most_starting: int = 0
    started: int = 0
    is_open: bool = False
    to_close: bool = False
    tries: int = 0
    breaks_in_open: BaseException | None = None
    can_fork: bool = False
    parents: list[MemoryParent] = field(default_factory=list)
    preparing: asyncio.Event | None = None
    asked_to_prepare: int = 0
    refuses: set[str] = field(default_factory=set)

    async def open(self) -> None:
        assert not self.to_close, "it is closed before it is opened again, also when it failed to"
        self.to_close = True
        self.tries += 1
        if self.breaks_in_open is not None:
            raise self.breaks_in_open
        if self.unavailable:
            raise DriverUnavailable(self.unavailable, passing=self.passing)
        self.is_open = True

    async def start(self, kind: Kind) -> MemoryInstance:
        assert self.is_open, "only an open driver starts anything"
        self.asked.append(kind)
        self.starting += 1
        self.most_starting = max(self.most_starting, self.starting)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.starting -= 1
        if self.unavailable:
            raise DriverUnavailable(self.unavailable, passing=self.passing)
        if kind.layer in self.missing:
            raise DriverUnavailable(f"the requirements layer {kind.layer} is not there")
        self.started += 1
        instance = MemoryInstance(self, f"memory-{self.started}", kind)
        self.instances.append(instance)
        return instance

    def can_prepare(self, application: Application) -> bool:
        return self.can_fork and application.network is Network.OFF

    async def prepare(self, application: Application, timeout_seconds: float) -> MemoryParent:
        self.asked_to_prepare += 1
        if self.preparing is not None:
            await self.preparing.wait()
        if application.function in self.refuses:
            raise StartFailed(StartReason.NOT_FORKABLE, "its import left 1 threads running")
        parent = MemoryParent(self, application)
        self.parents.append(parent)
        return parent

    async def close(self) -> None:
        self.is_open = self.to_close = False
        for parent in self.standing():
            await parent.kill()
        for instance in self.living():
            await instance.kill()

    def standing(self) -> list[MemoryParent]:
        """The parents that are there."""
        return [parent for parent in self.parents if parent.there]

    def living(self) -> list[MemoryInstance]:
        """The instances that are there, standbys too."""
        return [instance for instance in self.instances if instance.alive]

    def serving(self, function: str) -> list[MemoryInstance]:
        """The instances of a function that are there."""
        return [one for one in self.living() if one.application is not None and one.application.function == function]

    def memory(self) -> int:
        """What the living instances count for."""
        return sum(
            (16 * MEBIBYTE if instance.application is None else instance.application.limits.memory_bytes)
            + (0 if instance.kind.network is Network.OFF else 32 * MEBIBYTE)
            for instance in self.living()
        ) + sum(parent.application.limits.memory_bytes + 16 * MEBIBYTE for parent in self.standing())


_ENDS = (StartReason.TIMEOUT, StartReason.CRASHED, StartReason.OUT_OF_MEMORY)


class MemoryInstance:
    """Implements `clowdy.runtimes.api.Instance`."""

    def __init__(self, driver: MemoryDriver, name: str, kind: Kind) -> None:
        self._driver = driver
        self.id = name
        self.kind = kind
        self.application: Application | None = None
        self.alive = True
        self.throttled = False
        self.is_application = False
        self.calls: dict[int, Call] = {}
        self.on_exit: Callable[[Instance, Exit], None] | None = None
        self.on_settled: Callable[[Instance], None] | None = None
        self._late: set[int] = set()
        self._ids = count(1)

    @property
    def busy(self) -> int:
        return len(self.calls)

    @property
    def late(self) -> int:
        return len(self._late)

    async def take(self, application: Application, timeout_seconds: float) -> Ready:
        assert self.application is None, "an instance is never taken twice"
        assert self.alive
        self.application = application
        behaviour = self._driver.behaviours.get(application.function, Behaviour())
        if behaviour.held is not None:
            await behaviour.held.wait()
        if behaviour.fails is not None:
            await self.kill()
            raise behaviour.fails
        if behaviour.broken:
            raise RuntimeError("a bug in the driver")
        if behaviour.dies_at_once:
            await self.kill()
        return Ready(behaviour.shape, behaviour.import_ms, "started")

    async def probe(
        self,
        application: Application,
        handlers: Sequence[Handler],
        timeout_seconds: float,
        tell: Callable[[Ready | StartFailed], None],
    ) -> None:
        self.application = application
        for handler in handlers:
            behaviour = self._driver.behaviours.get(handler.attribute, Behaviour())
            if behaviour.held is not None:
                await behaviour.held.wait()
            tell(behaviour.fails or Ready(behaviour.shape, 1.0))
            if behaviour.fails is not None and behaviour.fails.reason in _ENDS:
                break
        await self.kill()

    def call(self, call: Call) -> int:
        assert self.alive
        assert self.application is not None
        assert len(self.calls) < self.application.parallel
        number = next(self._ids)
        self.calls[number] = call
        return number

    def answer(self) -> None:
        """The oldest call gets its answer."""
        assert self.application is not None
        call = self.calls.pop(min(self.calls))
        behaviour = self._driver.behaviours.get(self.application.function, Behaviour())
        call.sink.result(b"", behaviour.answer(call.body))

    def credit(self, call_id: int, size: int) -> None:
        pass

    def cancel(self, call_id: int) -> None:
        assert self.application is not None
        if call_id in self.calls:
            self.die("its client left")

    def exceeds(self, call_id: int) -> None:
        """A call beside others is over its time: it fails, and goes on until it `gives_up`."""
        self._late.add(call_id)
        self.calls[call_id].sink.failed(FailureCode.TIMEOUT, "it took too long")

    def gives_up(self, call_id: int) -> None:
        """A call that was over its time ends at last."""
        del self.calls[call_id]
        self._late.discard(call_id)
        if self.on_settled is not None:
            self.on_settled(self)

    async def kill(self) -> None:
        if self.alive:
            self.alive = False
            await asyncio.sleep(0)
            self._exit(Exit(None, "killed"))

    def die(self, why: str = "it crashed") -> None:
        """It ends without being asked to."""
        if self.alive:
            self.alive = False
            self._exit(Exit(FailureCode.CRASHED, why))

    def _exit(self, reason: Exit) -> None:
        calls, self.calls = self.calls, {}
        for number, call in calls.items():
            if number not in self._late:
                call.sink.failed(FailureCode.CRASHED, reason.text)
        if self.on_exit is not None:
            self.on_exit(self, reason)


class MemoryParent:
    """Implements `clowdy.runtimes.api.Parent`."""

    def __init__(self, driver: MemoryDriver, application: Application) -> None:
        self._driver = driver
        self._forked: list[MemoryInstance] = []
        self.application = application
        self.there = True
        self.alive = True
        self.on_exit: Callable[[Parent], None] | None = None

    @property
    def children(self) -> int:
        return sum(instance.alive for instance in self._forked)

    async def fork(self, timeout_seconds: float) -> tuple[Instance, Ready]:
        assert self.alive
        behaviour = self._driver.behaviours.get(self.application.function, Behaviour())
        if behaviour.forking is not None:
            await behaviour.forking.wait()
        if not behaviour.forks:
            raise StartFailed(StartReason.CRASHED, "the process ended")
        instance = MemoryInstance(self._driver, f"child-{len(self._driver.instances)}", kind_of(self.application))
        instance.application = self.application
        self._driver.instances.append(instance)
        self._forked.append(instance)
        return instance, Ready(Shape.HANDLER, 0.1)

    async def kill(self) -> None:
        if self.there:
            await asyncio.sleep(0)
            self.die()

    def die(self) -> None:
        """It ends, and its children with it."""
        self.there = self.alive = False
        for instance in self._forked:
            instance.die("its parent ended")
        if self.on_exit is not None:
            self.on_exit(self)


class NoCode(Code):
    """A tree without a file."""

    id = "0" * 40

    def files(self) -> Sequence[CodeFile]:
        return ()

    def read(self, blob: str) -> bytes:
        raise KeyError(blob)


def failing(text: str = "Traceback: boom") -> StartFailed:
    return StartFailed(StartReason.EXCEPTION, text, log="printed")


def application(
    function: str = "hello",
    *,
    project: str = "shop",
    version: int = 1,
    secrets: str = "",
    memory: int = 128,
    concurrency: int = 16,
    parallel: int = 1,
    min_warm: int = 0,
    layer: str | None = None,
    network: Network = Network.OFF,
) -> Application:
    """One function version; `memory` in MB."""
    return Application(
        key=f"{project}/{function}/{version}/{secrets}",
        project=project,
        project_id=f"id-{project}",
        function=function,
        function_id=f"id-{project}-{function}",
        version=version,
        code=NoCode(),
        handler=Handler("functions/hello.py", "handler"),
        limits=Limits(memory_bytes=memory * MEBIBYTE),
        concurrency=concurrency,
        parallel=parallel,
        min_warm=min_warm,
        layer=layer,
        network=network,
    )
