"""What a driver promises: sandboxes that are started empty, take one function version, and answer its calls.

The pool, the releases and the gateway know functions through these interfaces alone. A driver for another machine
or another kind of isolation implements `Driver` and `Instance` and passes `tests/contracts/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, runtime_checkable

from clowdy.schema.manifest import HandlerType, Network
from clowdy.schema.units import MEBIBYTE


class Promise(StrEnum):
    """What isolation a driver gives. One that it cannot keep is missing from `Driver.promises`."""

    MEMORY = "memory"
    MEMORY_WATCHED = "memory is watched every 100 ms"
    PROCESSES = "processes"
    CPU = "cpu"
    READ_ONLY = "read-only system and code"
    PRIVATE_TMP = "private /tmp with a size limit"
    NO_NETWORK = "no network unless asked"
    CLOSED_NETWORK = "a network that reaches neither this machine nor private addresses"
    OWN_USER = "a host user of its own"
    SYSTEM_CALLS = "a system call filter"
    HIDDEN_HOST = "no sight of the host's files and processes"
    WHOLE_KILL = "nothing outlives a kill"


class CodeFile(NamedTuple):
    """One file of a function's code; `blob` is git's object id in hex, `size` in bytes."""

    path: str
    blob: str
    size: int
    executable: bool


class Code(Protocol):
    """A function's filtered tree and how to read it. `read` blocks and may be called from any thread."""

    @property
    def id(self) -> str:
        """Names the content: equal ids are equal trees."""
        ...

    def files(self) -> Sequence[CodeFile]:
        """Every file, in the order of their paths. Blocks; the result is kept."""
        ...

    def read(self, blob: str) -> bytes:
        """The content of one blob."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What one instance may use."""

    memory_bytes: int = 128 * MEBIBYTE
    cpu: float = 0.5
    processes: int = 256
    open_files: int = 1024
    tmp_bytes: int = 64 * MEBIBYTE


class Handler(NamedTuple):
    """`file` relative to the first source, `attribute` in its module."""

    file: str
    attribute: str


@dataclass(frozen=True, slots=True)
class Application:
    """One function version, complete: all that an instance needs to serve it.

    `key` names (project, function, version, values of secrets): instances are shared and reused by equal keys
    alone. `env` is what the function's environment holds, secret values included, so this value must never be
    logged or printed; its `repr` leaves `env` out.
    """

    key: str
    project: str
    project_id: str
    function: str
    function_id: str
    version: int
    code: Code
    handler: Handler
    sources: tuple[str, ...] = (".",)
    type: HandlerType = HandlerType.AUTO
    network: Network = Network.OFF
    limits: Limits = Limits()
    timeout_seconds: float = 30.0
    concurrency: int = 16
    parallel: int = 1
    min_warm: int = 0
    layer: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


class Kind(NamedTuple):
    """What a standby is started for, since it cannot be changed later: mounted layer and network level."""

    layer: str | None
    network: Network


def kind_of(application: Application) -> Kind:
    """The kind of standby that can take `application`."""
    return Kind(application.layer, application.network)


class Shape(StrEnum):
    """What a handler turned out to be when it was imported."""

    HANDLER = "handler"
    ASYNC_HANDLER = "async handler"
    GENERATOR = "generator"
    ASYNC_GENERATOR = "async generator"
    ASGI = "ASGI application"
    WSGI = "WSGI application"


class StartReason(StrEnum):
    """Why an instance did not become ready."""

    EXCEPTION = "exception"
    MISSING_MODULE = "missing module"
    MISSING_ATTRIBUTE = "missing attribute"
    NOT_CALLABLE = "not callable"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out of memory"
    CRASHED = "crashed"
    NOT_FORKABLE = "not forkable"
    RUNTIME = "runtime"


@dataclass(frozen=True, slots=True)
class Ready:
    """An import that succeeded. `log` is what it printed."""

    shape: Shape
    import_ms: float
    log: str = ""


class StartFailed(Exception):
    """A version did not start. `text` is the traceback or what else its author needs; `log` what it printed.

    `module` names the module that was missing.
    """

    def __init__(self, reason: StartReason, text: str, *, module: str | None = None, log: str = "") -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.module = module
        self.log = log


class DriverUnavailable(Exception):
    """The driver cannot start anything now; the message says why, and after " Cure: " what to do.

    `passing` where that may pass by itself, as an engine that is down comes back: opening it again is worth a try.
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class FailureCode(StrEnum):
    """How a call failed, in the words of the gateway's error codes."""

    FUNCTION_FAILED = "function_failed"
    BAD_RESPONSE = "bad_response"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    CRASHED = "crashed"


class CallSink(Protocol):
    """Who takes the events of one call. They come on the event loop, in this order, and nothing comes after an end.

    `log` any number of times, then either `result`, or `head`, any number of `piece` and `end`, or `failed`.
    `failed` can also come after `head`, and then cuts the answer. None of them may raise or block. That a call was
    cancelled changes nothing of this: what it prints until its end, and the end, are told.
    """

    def log(self, text: bytes) -> None:
        """More of what the call printed, UTF-8 with replacements, cut by the runner at 256 KB in all."""

    def result(self, head: bytes, body: bytes) -> None:
        """The whole answer. An empty `head` means status 200, JSON; else it is JSON as `frames` says."""

    def head(self, head: bytes) -> None:
        """Status and headers of an answer that comes in pieces."""

    def piece(self, body: bytes) -> None:
        """More of its body."""

    def end(self) -> None:
        """Its end."""

    def failed(self, code: FailureCode, text: str) -> None:
        """The call failed; `text` is the traceback or reason for its author, never for a caller."""


@dataclass(slots=True)
class Call:
    """One call of an instance.

    `head` is JSON as `frames` says, `body` the raw request body or the event's JSON; a list is a body in parts, which
    are taken out of it as they are sent. `timeout_seconds` begins when the instance is handed the call.
    """

    head: bytes
    body: bytes | list[bytes]
    timeout_seconds: float
    sink: CallSink


class Exit(NamedTuple):
    """Why an instance is gone. `code` is CRASHED for an exit of any kind that nobody asked for."""

    code: FailureCode | None
    text: str


class Instance(Protocol):
    """One sandbox: started empty, taken by one version once, calling until it is killed. It is never reused."""

    @property
    def id(self) -> str:
        """Unique in this server, for logs."""
        ...

    @property
    def kind(self) -> Kind:
        """What it was started for."""
        ...

    @property
    def alive(self) -> bool:
        """False from the moment that it cannot take another call."""
        ...

    @property
    def busy(self) -> int:
        """How many calls it has now."""
        ...

    @property
    def late(self) -> int:
        """How many of its calls are over their time, were asked to end, and have not: it may end with them."""
        ...

    @property
    def is_application(self) -> bool:
        """Whether it serves an ASGI or WSGI application, which is told more of a request; known once it was taken."""
        ...

    @property
    def throttled(self) -> bool:
        """Whether its cpu limit held it back since this was asked last; False where that is not known."""
        ...

    on_exit: Callable[[Instance, Exit], None] | None
    """Called once on the event loop when it ends, however it ends, after the sinks of its calls were told."""

    on_settled: Callable[[Instance], None] | None
    """Called on the event loop when a call that was over its time has come to its end: `late` counts it no more."""

    async def take(self, application: Application, timeout_seconds: float) -> Ready:
        """Becomes `application`: its code appears under /app, its limits hold, its handler is imported.

        Raises StartFailed, after which the instance is dead. `timeout_seconds` covers everything.
        """
        ...

    async def probe(
        self,
        application: Application,
        handlers: Sequence[Handler],
        timeout_seconds: float,
        tell: Callable[[Ready | StartFailed], None],
    ) -> None:
        """Imports each of `handlers` in turn, each under its own time, for a trial; the instance ends with it.

        `application` says what they have in common. `tell` gets one result for each, as it comes; what kills the
        sandbox is the result of the handler being imported, and those after it have none.
        """
        ...

    def call(self, call: Call) -> int:
        """Hands a call over without waiting and returns its id; every event goes to its sink.

        The caller keeps `busy` within the version's `parallel`. A call that exceeds its time is failed with
        TIMEOUT and the whole instance is killed; where it has other calls, it is first asked to end that one alone.
        """
        ...

    def credit(self, call_id: int, size: int) -> None:
        """The caller took `size` bytes of an answer in pieces: as many more may come. Harmless after its end."""
        ...

    def cancel(self, call_id: int) -> None:
        """Ends a call whose client left; its sink is told of the end. A plain handler's instance is killed.

        Another kind is asked to end it, and so is whatever streams: it has a few seconds for that, after which it is
        treated as a call that exceeds its time.
        """
        ...

    async def kill(self) -> None:
        """Kills every process of it and returns when they are gone. Safe to call twice."""
        ...


class Driver(Protocol):
    """Starts instances of one kind of isolation."""

    @property
    def name(self) -> str:
        """`sandbox`, `process`, `docker`: what `--runtime` says."""
        ...

    @property
    def python(self) -> str:
        """The version of the Python that functions get, `3.11.2`."""
        ...

    @property
    def base(self) -> str:
        """What functions see besides their Python: the id of a base image; empty where that is this machine."""
        ...

    @property
    def promises(self) -> frozenset[Promise]:
        """What it keeps on this machine; known after `open`."""
        ...

    @property
    def notice(self) -> str | None:
        """One line for the server's start when it isolates less than it could, with the cure; known after `open`."""
        ...

    @property
    def no_network(self) -> str | None:
        """Why `start` refuses kinds with a network, and the cure; None where it does not. It can change."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why it can start nothing now though it opened, and after " Cure: " what to do; None where it can."""
        ...

    async def open(self) -> None:
        """Finds out what holds here and clears what an earlier server left; raises DriverUnavailable with the cure.

        Opened again, if it failed to, only after it was closed.
        """
        ...

    async def start(self, kind: Kind) -> Instance:
        """An empty instance, ready to be taken; raises DriverUnavailable."""
        ...

    async def close(self) -> None:
        """Kills every instance; nothing is left behind."""
        ...


class Parent(Protocol):
    """A sandbox in which a version is imported already, and which serves no call: instances are forked from it."""

    @property
    def alive(self) -> bool:
        """False from the moment that it forks no more; its children may go on."""
        ...

    @property
    def children(self) -> int:
        """How many instances of it there are."""
        ...

    on_exit: Callable[[Parent], None] | None
    """Called once on the event loop when it ends, however it ends. Its children end with it."""

    async def fork(self, timeout_seconds: float) -> tuple[Instance, Ready]:
        """A further instance of its version, ready for calls, with limits of its own.

        Raises StartFailed or DriverUnavailable, after which nothing of the instance is left.
        """
        ...

    async def kill(self) -> None:
        """Kills it and its children, and returns when they are gone. Safe to call twice."""
        ...


@runtime_checkable
class Parents(Protocol):
    """What a driver offers besides where it can prepare parents."""

    def can_prepare(self, application: Application) -> bool:
        """Whether instances of `application` may share a sandbox here."""
        ...

    async def prepare(self, application: Application, timeout_seconds: float) -> Parent:
        """Imports `application` once for all instances that are forked from it; its limits hold.

        Raises StartFailed, with NOT_FORKABLE where the import left what a fork would share or lose, or
        DriverUnavailable.
        """
        ...


def describe(driver: Driver) -> dict[str, Any]:
    """What `doctor` and the API show of a driver."""
    return {
        "name": driver.name,
        "python": driver.python,
        "keeps": sorted(promise.value for promise in driver.promises),
        "lacks": sorted(promise.value for promise in Promise if promise not in driver.promises),
    }
