"""A gateway over functions that are Python callables, behind a real socket: what the HTTP tests play on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from clowdy.runtimes.api import Application, Call, CallSink, FailureCode, Handler, Instance, Kind, Network
from clowdy.runtimes.fleet import Lease
from clowdy.schema.manifest import RouteSpec
from clowdy.server.errors import NotAuthenticated, NotFound
from clowdy.server.serve.direct import Direct
from clowdy.server.serve.exchange import CallRecord, Leasing
from clowdy.server.serve.gateway import Gateway
from clowdy.server.serve.hosts import Hosts, Proxies
from clowdy.server.serve.listening import Runner
from clowdy.server.serve.routing import RouteTable
from clowdy.server.serve.table import ProjectTable, Target

ADMIN = "preset-admin-token"
ODD_ADMIN = "Odd, = 'ä;\" token=="
TOKEN = "clowdy_0123456789ab_secret"
SECRET = "sk_live_4242424242"


class NoCode:
    """A tree without a file."""

    id = "0" * 40

    def files(self) -> Sequence[Any]:
        return ()

    def read(self, blob: str) -> bytes:
        raise KeyError(blob)


@dataclass
class Told:
    """One call as the function sees it."""

    call: Call
    instance: MemoryInstance
    id: int

    @property
    def event(self) -> dict[str, Any]:
        return orjson.loads(self.call.head)  # type: ignore[no-any-return]

    @property
    def body(self) -> bytes:
        body = self.call.body
        return body if isinstance(body, bytes) else b"".join(body)

    @property
    def sink(self) -> CallSink:
        return self.call.sink


Function = Callable[[Told], None]


class MemoryInstance:
    """Implements `Instance` for one function. Like a real one it answers later, never within `call`."""

    def __init__(self, pool: MemoryPool, application: Application, name: str) -> None:
        self._pool = pool
        self.application = application
        self.id = name
        self.kind = Kind(None, Network.OFF)
        self.alive = True
        self.is_application = application.function in pool.applications
        self.throttled = False
        self.on_exit = None
        self.on_settled = None
        self.calls: dict[int, Call] = {}
        self.cancelled: list[int] = []
        self.lingers = False
        """Whether a cancelled call goes on until the test ends it."""
        self.credits: list[int] = []
        self._last = 0

    @property
    def busy(self) -> int:
        return len(self.calls)

    @property
    def late(self) -> int:
        return 0

    def call(self, call: Call) -> int:
        self._last += 1
        self.calls[self._last] = call
        told = Told(call, self, self._last)
        self._pool.calls.append(told)
        asyncio.get_running_loop().call_soon(self._pool.functions[self.application.function], told)
        return self._last

    def cancel(self, call_id: int) -> None:
        self.cancelled.append(call_id)
        if not self.lingers and (call := self.calls.pop(call_id, None)) is not None:
            asyncio.get_running_loop().call_soon(call.sink.failed, FailureCode.FUNCTION_FAILED, "it was cancelled")

    def credit(self, call_id: int, size: int) -> None:
        self.credits.append(size)

    async def take(self, application: Application, timeout_seconds: float) -> Any:
        raise NotImplementedError

    async def probe(self, *args: Any) -> Any:
        raise NotImplementedError

    async def kill(self) -> None:
        self.alive = False


@dataclass
class MemoryPool:
    """Implements `Leasing`: one instance a function, always warm, unless `cold` or `error` say otherwise."""

    functions: dict[str, Function] = field(default_factory=dict)
    applications: set[str] = field(default_factory=set)
    calls: list[Told] = field(default_factory=list)
    leased: list[Instance] = field(default_factory=list)
    instances: dict[str, MemoryInstance] = field(default_factory=dict)
    cold: bool = False
    error: Exception | None = None
    gate: asyncio.Event | None = None

    def lease(self, application: Application) -> Instance | None:
        if self.cold or self.error or self.gate is not None:
            return None
        return self._instance(application)

    async def acquire(self, application: Application) -> Lease:
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Lease(self._instance(application), self.cold)

    def warm(self, function: str) -> MemoryInstance:
        """The instance of a function."""
        if function not in self.instances:
            self.instances[function] = MemoryInstance(self, application(function), f"m{len(self.instances)}")
        return self.instances[function]

    def _instance(self, application: Application) -> Instance:
        instance: Instance = self.warm(application.function)
        self.leased.append(instance)
        return instance

    def release(self, instance: Instance) -> None:
        self.leased.remove(instance)


def application(function: str, project: str = "shop", timeout: float = 30.0) -> Application:
    return Application(
        key=f"{project}/{function}",
        project=project,
        project_id=f"id-{project}",
        function=function,
        function_id=f"{function:0<12}",
        version=3,
        code=NoCode(),
        handler=Handler("functions/hello.py", "handler"),
        timeout_seconds=timeout,
    )


def echo(told: Told) -> None:
    """Answers with its event, the body in it."""
    told.instance.calls.pop(told.id, None)
    event = {**told.event, "body": told.body.decode("latin-1")}
    told.sink.result(b"", orjson.dumps(event))


def answering(
    body: bytes = b"", status: int = 200, headers: Sequence[tuple[str, str]] = (), head: bytes | None = None
) -> Function:
    """A function that gives one answer; `head` is sent as it is."""
    if head is None:
        head = orjson.dumps({"status": status, "headers": [list(pair) for pair in headers]})

    def function(told: Told) -> None:
        told.instance.calls.pop(told.id, None)
        told.sink.result(head, body)

    return function


def silent(told: Told) -> None:
    """Never answers by itself."""


ROUTES = ("ANY /*path: echo",)


def project_table(
    name: str = "shop",
    routes: Sequence[str] | None = ROUTES,
    release: int | None = 42,
    cors: tuple[str, ...] = (),
    private: Sequence[str] = (),
    broken: Mapping[str, str] | None = None,
    timeout: float = 30.0,
) -> ProjectTable:
    """A release; each route reads `METHOD /path: function`."""
    specs = []
    for route in routes or ():
        line, function = route.rsplit(": ", 1)
        method, path = line.split(" ", 1)
        specs.append(RouteSpec(method, path, function))
    broken = broken or {}
    names = {spec.function for spec in specs} | set(private)
    functions = {
        function: Target(
            f"{function:0<12}",
            function,
            None if function in broken else application(function, name, timeout),
            broken.get(function, ""),
            function not in private,
            3,
        )
        for function in names
    }
    table = RouteTable.compile(specs) if specs else None
    return ProjectTable(f"id-{name}", name, release, table, functions, cors)


def is_own_token(text: str) -> bool:
    return text.startswith("clowdy_") or text in (ADMIN, ODD_ADMIN)


async def identify(authorization: str | None, address: str | None) -> Callable[[str], bool]:
    if authorization == f"Bearer {TOKEN}":
        return lambda project_id: project_id == "id-shop"
    raise NotAuthenticated


@web.middleware
async def translate(request: web.Request, handler: Any) -> web.StreamResponse:
    """Answers for the errors of direct calls, as the web package does."""
    try:
        response: web.StreamResponse = await handler(request)
        return response
    except NotAuthenticated as error:
        return web.json_response({"detail": error.message}, status=401)
    except NotFound as error:
        return web.json_response({"detail": error.message}, status=404)


@dataclass
class Stage:
    """A running server with what it is made of."""

    pool: MemoryPool
    gateway: Gateway
    records: list[CallRecord]
    runner: Runner
    port: int
    fast: bool
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def play(self, *routes: str, cors: tuple[str, ...] = (), **functions: Function) -> None:
        """Publishes the project `shop`."""
        self.pool.functions.update(functions)
        self.gateway.publish(project_table(routes=routes or ROUTES, cors=cors), ["shop", "old-shop"])

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that is closed with the stage at the latest, so that a test that fails leaves nothing."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        return reader, writer

    async def raw(self, data: bytes) -> bytes:
        """Everything that comes back for `data` until the server closes or says nothing more."""
        reader, writer = await self.connect()
        writer.write(data)
        received = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            while True:
                async with asyncio.timeout(0.3):
                    piece = await reader.read(65536)
                if not piece:
                    break
                received += piece
        writer.close()
        return received

    async def ask(
        self,
        target: str,
        method: str = "GET",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        host: str = "127.0.0.1",
        version: str = "1.1",
    ) -> Reply:
        """One request, byte for byte as given, on a connection of its own."""
        lines = [f"{method} {target} HTTP/{version}", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
        if body or method in {"POST", "PUT", "PATCH"}:
            lines.append(f"Content-Length: {len(body)}")
        reader, writer = await self.connect()
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body)
            return await read_reply(reader, method)
        finally:
            writer.close()


@dataclass
class Reply:
    """A response as it came."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    complete: bool = True

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def __getitem__(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


async def read_reply(reader: asyncio.StreamReader, method: str = "GET") -> Reply:
    """The next response; `complete` is False when it was cut."""
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        headers = [(line.split(": ", 1)[0], line.split(": ", 1)[1]) for line in lines[1:] if line]
        names = {name.lower(): value for name, value in headers}
        if method == "HEAD" or status in (204, 304):
            return Reply(status, headers, b"")
        body = b""
        try:
            if names.get("transfer-encoding") == "chunked":
                while True:
                    size = int((await reader.readuntil(b"\r\n"))[:-2], 16)
                    body += (await reader.readexactly(size + 2))[:-2]
                    if not size:
                        return Reply(status, headers, body)
            if "content-length" in names:
                return Reply(status, headers, await reader.readexactly(int(names["content-length"])))
            return Reply(status, headers, await reader.read())
        except (asyncio.IncompleteReadError, ConnectionError):
            return Reply(status, headers, body, complete=False)


@contextlib.asynccontextmanager
async def stage(
    *,
    fast: bool,
    body_limit: int = 6 * 1024 * 1024,
    trust: Sequence[Any] = (),
    leasing: Leasing | None = None,
    **options: Any,
) -> AsyncIterator[Stage]:
    """Opens the server, with the project `shop` that echoes, and closes it. `leasing` takes the memory pool's place."""
    pool = MemoryPool(functions={"echo": echo, "silent": silent})
    records: list[CallRecord] = []
    gateway = Gateway(
        leasing or pool,
        records.extend,
        Hosts("localhost", "pages.localhost"),
        is_own_token=is_own_token,
        may_read_logs=lambda authorization, project_id, address: authorization == f"Bearer {TOKEN}",
        redact=lambda project_id, text: text.replace(SECRET, "********"),
        proxies=Proxies(trust),
        body_limit=body_limit,
    )
    app = web.Application(middlewares=[translate], client_max_size=1024)
    app.add_routes(Direct(gateway, identify).routes())

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=f"page {request.path}")

    app.router.add_route("*", "/{path:.*}", page)
    runner = Runner(app, gateway, fast=fast, **{"shutdown_timeout": 1.0, **options})
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    played = Stage(pool, gateway, records, runner, runner.addresses[0][1], fast)
    played.play()
    try:
        yield played
    finally:
        for writer in played.writers:
            writer.close()
        await runner.cleanup()
