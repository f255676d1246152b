"""Functions as texts, and what their calls come to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

from clowdy.runtimes.api import (
    Application,
    Call,
    CodeFile,
    Driver,
    FailureCode,
    Handler,
    Instance,
    Kind,
    Limits,
    Ready,
    kind_of,
)
from clowdy.schema.manifest import HandlerType, Network

PLAIN = Kind(None, Network.OFF)
FILE = "functions/hello.py"


class TextCode:
    """Implements `Code` over texts by path."""

    def __init__(self, files: Mapping[str, str | bytes], executable: Sequence[str] = ()) -> None:
        self._files = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
        self._executable = executable
        self._blobs = {hashlib.sha1(content).hexdigest(): content for content in self._files.values()}
        self.reads = 0

    @property
    def id(self) -> str:
        return hashlib.sha1(repr(sorted(self._files.items())).encode()).hexdigest()

    def files(self) -> Sequence[CodeFile]:
        return [
            CodeFile(path, hashlib.sha1(content).hexdigest(), len(content), path in self._executable)
            for path, content in sorted(self._files.items())
        ]

    def read(self, blob: str) -> bytes:
        self.reads += 1
        return self._blobs[blob]


HANDLER = Handler(FILE, "handler")
USUAL = Limits()


def application(
    source: str | Mapping[str, str | bytes],
    *,
    handler: Handler = HANDLER,
    sources: tuple[str, ...] = (".",),
    kind: HandlerType = HandlerType.AUTO,
    network: Network = Network.OFF,
    env: Mapping[str, str] | None = None,
    limits: Limits = USUAL,
    executable: Sequence[str] = (),
) -> Application:
    files = {FILE: dedent(source)} if isinstance(source, str) else source
    return Application(
        key="key",
        project="shop",
        project_id="0123456789ab",
        function="hello",
        function_id="ba9876543210",
        version=3,
        code=TextCode(files, executable),
        handler=handler,
        sources=sources,
        type=kind,
        network=network,
        limits=limits,
        env=env or {},
    )


class Answer(NamedTuple):
    """The head of an answer, as the runner sent it."""

    status: int
    headers: tuple[tuple[str, str], ...]


@dataclass
class Outcome:
    """What a call came to."""

    head: bytes = b""
    body: bytes = b""
    code: FailureCode | None = None
    text: str = ""
    log: str = ""
    pieces: tuple[bytes, ...] = ()

    @property
    def answer(self) -> Answer:
        assert self.code is None, f"{self.code}: {self.text}"
        if not self.head:
            return Answer(200, (("Content-Type", "application/json"),))
        said = json.loads(self.head)
        return Answer(said["status"], tuple((name, value) for name, value in said["headers"]))

    @property
    def status(self) -> int:
        return self.answer.status

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.answer.headers if key.lower() == name]

    @property
    def json(self) -> Any:
        assert self.code is None, f"{self.code}: {self.text}"
        return json.loads(self.body)


@dataclass
class Sink:
    """Implements `CallSink`; complains about what comes after an end."""

    ended: asyncio.Future[Outcome] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    printed: bytearray = field(default_factory=bytearray)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    wrong: list[str] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    begun: bytes | None = None
    number: int = 0
    take: Callable[[int], None] | None = None

    def log(self, text: bytes) -> None:
        self._still("log")
        self.printed += text
        self.heard.set()

    def result(self, head: bytes, body: bytes) -> None:
        self._end(Outcome(head, body))

    def head(self, head: bytes) -> None:
        self._still("head")
        self.begun = head
        self.heard.set()

    def piece(self, body: bytes) -> None:
        self._still("piece")
        self.pieces.append(body)
        self.heard.set()
        if self.take is not None:
            self.take(len(body))

    def end(self) -> None:
        self._end(Outcome(self.begun or b"", b"".join(self.pieces), pieces=tuple(self.pieces)))

    def failed(self, code: FailureCode, text: str) -> None:
        self._end(Outcome(code=code, text=text, pieces=tuple(self.pieces)))

    async def until(self, wanted: Callable[[Sink], bool]) -> None:
        """Returns when what the call said so far is `wanted`."""
        async with asyncio.timeout(20):
            while not wanted(self):
                self.heard.clear()
                await self.heard.wait()

    def _still(self, what: str) -> None:
        if self.ended.done():
            self.wrong.append(f"{what} after the end")

    def _end(self, outcome: Outcome) -> None:
        self._still("end")
        if not self.ended.done():
            outcome.log = self.printed.decode()
            self.ended.set_result(outcome)


def request(
    method: str = "GET",
    path: str = "/",
    *,
    query: str = "",
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 10.0,
    prefix: str = "/api/gateway/shop",
    **more: Any,
) -> bytes:
    """The head of a gateway call; `more` is what applications are told besides."""
    return json.dumps(
        {
            "trigger": "gateway",
            "request_id": "00112233aabb",
            "release": 7,
            "timeout": timeout,
            "prefix": prefix,
            "method": method,
            "path": path,
            "params": params or {},
            "query": query,
            "headers": headers or {},
            **more,
        }
    ).encode()


def told(method: str = "GET", path: str = "/", **more: Any) -> bytes:
    """The head of a call of an application."""
    usual = {"client": ["203.0.113.7", 4711], "scheme": "http", "http_version": "1.1"}
    return request(method, path, **{"headers": {"host": "shop.example:8000"}, **usual, **more})


def direct(timeout: float = 10.0) -> bytes:
    return json.dumps({"trigger": "direct", "request_id": "00112233aabb", "release": 7, "timeout": timeout}).encode()


def begin(
    instance: Instance, head: bytes | None = None, body: bytes = b"", *, timeout: float = 10.0, reads: bool = True
) -> Sink:
    """A call whose caller takes every piece at once, unless it does not read."""
    sink = Sink()
    sink.number = instance.call(Call(request() if head is None else head, body, timeout, sink))
    if reads:
        sink.take = partial(instance.credit, sink.number)
    return sink


async def call(instance: Instance, head: bytes | None = None, body: bytes = b"", *, timeout: float = 10.0) -> Outcome:
    sink = begin(instance, head, body, timeout=timeout)
    async with asyncio.timeout(30):
        outcome = await sink.ended
    await asyncio.sleep(0)
    assert not sink.wrong
    return outcome


async def ask(instance: Instance, event: Any = None, *, timeout: float = 10.0) -> Outcome:
    """A direct call with `event`."""
    return await call(instance, direct(), json.dumps(event).encode(), timeout=timeout)


class World:
    """One open driver, and instances of it made from texts."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    async def take(self, application: Application, timeout: float = 10.0) -> tuple[Instance, Ready]:
        instance = await self.driver.start(kind_of(application))
        return instance, await instance.take(application, timeout)

    async def serve(self, source: str | Mapping[str, str | bytes], **options: Any) -> Instance:
        instance, _ = await self.take(application(source, **options))
        return instance

    async def outcome(self, source: str, event: Any = None, *, timeout: float = 10.0, **options: Any) -> Outcome:
        """What one direct call of a function comes to."""
        return await ask(await self.serve(source, **options), event, timeout=timeout)


def processes_with(marker: str) -> list[int]:
    """Processes of this host whose command line holds `marker`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if marker.encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def unbase64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
