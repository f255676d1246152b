"""The live table, and one call through it: which function a request means, and what its caller gets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from aiohttp import web

from clowdy.runtimes.api import Application, DriverUnavailable, StartFailed
from clowdy.runtimes.pool import Busy, NotServed
from clowdy.server.serve import answers, cors
from clowdy.server.serve.answers import JSON, AnswerHead, Header, confine, error_body
from clowdy.server.serve.call_ids import new_call_id
from clowdy.server.serve.exchange import Exchange, Leasing, Ledger
from clowdy.server.serve.hosts import Hosts, Proxies
from clowdy.server.serve.records import Redact
from clowdy.server.serve.requests import (
    IDLE_SECONDS,
    BodyBroken,
    BodyStalled,
    IsOwnToken,
    TooLarge,
    begin_head,
    complete_head,
    function_headers,
    header_fields,
    read_parts,
    split_target,
    tell_more,
)
from clowdy.server.serve.routing import BadPath, Match, MethodNotAllowed, decode
from clowdy.server.serve.sending import send_stream, send_whole
from clowdy.server.serve.table import PREFIX, Live, Mount, ProjectTable, Target

MayReadLogs = Callable[[str | None, str, str | None], bool]
"""Whether the token in an Authorization header may read a project's logs; the address is for limits of tries."""

WAYS_KEPT = 4096
WAY_CHARACTERS = 512
"""How many ways are remembered, and how long a target may be for that: what a stranger can fill stays small."""


class Place(NamedTuple):
    """Where a request goes: `mount` is None for a project that is not there. `path` and `query` are as sent."""

    mount: Mount | None
    path: str
    query: str
    own_host: bool


class Routed(NamedTuple):
    """The function that answers, the route's parameters and the method that it sees."""

    target: Target
    params: Mapping[str, str]
    method: str


class Way(NamedTuple):
    """Where requests with one host, method and target go. `head` begins the heads of their calls."""

    mount: Mount
    target: Target
    application: Application
    path: str
    head: bytes


class Refusal(NamedTuple):
    """An answer that no function was asked for. Without `detail` it has no body."""

    status: int
    code: str
    detail: str
    headers: tuple[Header, ...] = ()
    error: str = ""


class Client(Protocol):
    """What the gateway asks of the connection that a request came on."""

    on_lost: Callable[[], object] | None

    @property
    def peer(self) -> str | None:
        """The address at the other end."""
        ...

    @property
    def peer_port(self) -> int:
        """The port at the other end, 0 where there is none."""
        ...

    def take_begun(self) -> Exchange | None:
        """The call that was begun for the request before it was known that its answer needs more than one write."""
        ...


NOT_AVAILABLE = Refusal(503, "start_failed", "The function for this route is not available")


APPLICATION = Refusal(400, "bad_request", "The function is an application: it takes calls through the gateway alone")

NOWHERE = Mount(ProjectTable("", "", None), PREFIX[:-1])
"""Stands for a project that is not there, on the pages' host."""


class Gateway:
    """Everything under `/api/gateway/` and on the projects' own hosts."""

    def __init__(
        self,
        pool: Leasing,
        ledger: Ledger,
        hosts: Hosts,
        *,
        is_own_token: IsOwnToken,
        may_read_logs: MayReadLogs,
        redact: Redact,
        proxies: Proxies | None = None,
        body_limit: int = 6 * 1024 * 1024,
        body_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.pool = pool
        self.ledger = ledger
        self.proxies = proxies or Proxies()
        self.body_limit = body_limit
        self.body_seconds = body_seconds
        self.may_read_logs = may_read_logs
        self.live = Live()
        self._ways: dict[tuple[str, str, str], Way] = {}
        self._hosts = hosts
        self._is_own_token = is_own_token
        self._redact = redact

    # What is live.

    def publish(self, project: ProjectTable, names: Sequence[str]) -> None:
        """From the next request on `project` answers, under `names`: its own first, then old ones."""
        self.live = self.live.with_project(project, names)
        self._ways.clear()

    def withdraw(self, project_id: str) -> None:
        """From the next request on the project is not found."""
        self.live = self.live.without(project_id)
        self._ways.clear()

    # Which function a request means.

    def locate(self, host: str, target: str) -> Place | None:
        """The project that a request is for, or None: then it is for the pages."""
        name = self._hosts.project(host)
        if name is not None:
            path, query = split_target(target)
            return Place(self.live.by_host.get(name), path, query, True)
        if not target.startswith(PREFIX):
            if split_target(target)[0] == PREFIX[:-1]:
                return Place(None, "/", "", False)
            return None
        path, query = split_target(target)
        name, _, rest = path[len(PREFIX) :].partition("/")
        mount = self.live.by_path.get(name)
        if mount is None and "%" in name:
            try:
                mount = self.live.by_path.get(decode(name))
            except BadPath:
                mount = None
        return Place(mount, f"/{rest}", query, False)

    def route(self, project: ProjectTable, method: str, path: str) -> Routed | Refusal:
        """The function for method and path, or what is answered instead of asking one."""
        if project.routes is None:
            return Refusal(404, "not_found", "No routes configured for this project")
        try:
            match = project.routes.match(method, path)
        except BadPath as bad:
            return Refusal(400, "bad_request", f"Bad request: {bad}")
        if isinstance(match, Match):
            target = project.functions.get(match.route.function)
            if target is None:
                return NOT_AVAILABLE
            return Routed(target, match.params, match.method)
        if isinstance(match, MethodNotAllowed):
            allow = ("Allow", match.allow)
            if method == "OPTIONS":
                return Refusal(204, "", "", (allow,))
            return Refusal(405, "method_not_allowed", f"Method {method} is not allowed here", (allow,))
        return Refusal(404, "not_found", f"No route matches {method} {path}")

    def way(self, host: str, method: str, target: str) -> Way | None:
        """Where a request goes, if it goes to a function that can be called: found once, then remembered."""
        key = (host, method, target)
        known = self._ways.get(key)
        if known is not None:
            return known
        place = self.locate(host, target) if target.startswith("/") else None
        if place is None or place.mount is None:
            return None
        routed = self.route(place.mount.project, method, place.path)
        if not isinstance(routed, Routed) or routed.target.application is None:
            return None
        way = Way(place.mount, routed.target, routed.target.application, *_path_and_head(place.mount, routed, place))
        if len(target) <= WAY_CHARACTERS and len(host) <= WAY_CHARACTERS:
            if len(self._ways) >= WAYS_KEPT:
                self._ways.clear()
            self._ways[key] = way
        return way

    def exchange(
        self,
        mount: Mount,
        routed: Routed,
        request_id: str,
        method: str,
        place: Place,
        headers: Mapping[str, str],
    ) -> Exchange:
        """The call that `routed` needs, not begun yet. `method` is the request's own."""
        path, head = _path_and_head(mount, routed, place)
        event = complete_head(head, request_id, headers)
        return Exchange(
            self.pool, self.ledger, mount.project, routed.target, request_id, "gateway", method, path, event, mount
        )

    def headers_for(self, headers: Mapping[str, str]) -> dict[str, str]:
        """What a function sees of a request's headers."""
        return function_headers(headers.items(), self._is_own_token)

    def application_head(self, head: bytes, client: Client, headers: Mapping[str, str], version: str) -> bytes:
        """The head of a call with what applications are told besides, as a reverse proxy would tell them."""
        peer = client.peer
        address = self.proxies.client(peer, headers)
        more: dict[str, Any] = {
            "client": None if address is None else (address, client.peer_port if address == peer else 0),
            "scheme": self.proxies.scheme(peer, headers, "http"),
            "http_version": version,
        }
        host = self.proxies.host(peer, headers, "")
        if host:
            more["host"] = host
        fields = header_fields(headers.items(), self._is_own_token)
        if fields is not None:
            more["fields"] = fields
        return tell_more(head, more)

    def head_of(
        self, mount: Mount, answer: AnswerHead, request_id: str, origin: str | None, path: str | None
    ) -> list[Header]:
        """All headers of a function's answer, except for its length, from `answer` as the function gave it."""
        given = answers.without_session(answer.headers) if mount.own_host else confine(answer.headers, mount.prefix)
        headers = [*mount.headers, ("X-Request-Id", request_id), *given]
        described = describes_itself(mount, path)
        if described or mount.project.cors:
            return cors.share(headers, mount.project.cors, origin, described=described)
        return headers

    # One request, with everything that may come of it.

    async def handle(self, request: web.BaseRequest, place: Place) -> web.StreamResponse:
        """Answers a request that `locate` found a place for."""
        client: Client = request.protocol  # type: ignore[assignment]
        with self.leaving(request):
            exchange = client.take_begun()
            if exchange is None:
                began = await self._begin(request, place)
                if isinstance(began, web.Response):
                    return began
                exchange = began
            return await self._finish(request, exchange)

    @contextlib.contextmanager
    def leaving(self, request: web.BaseRequest) -> Iterator[None]:
        """Cancels the present task when the client leaves; aiohttp alone would not tell it."""
        client: Client = request.protocol  # type: ignore[assignment]
        task = asyncio.current_task()
        client.on_lost = task.cancel if task is not None else None
        try:
            yield
        finally:
            client.on_lost = None

    async def _begin(self, request: web.BaseRequest, place: Place) -> Exchange | web.Response:
        """The call of a request, given to an instance; or the response where there is none to be made."""
        client: Client = request.protocol  # type: ignore[assignment]
        request_id = new_call_id()
        mount = place.mount
        if mount is None:
            refusal = Refusal(404, "not_found", "Project not found")
            return self.refuse(request, None if place.own_host else NOWHERE, request_id, refusal)
        routed = self.route(mount.project, request.method, place.path)
        if isinstance(routed, Refusal):
            if routed.status == 204:
                told = cors.answer_options(mount.project.cors, request.headers, dict(routed.headers)["Allow"])
                routed = routed._replace(headers=(*routed.headers, *told))
            return self.refuse(request, mount, request_id, routed)
        exchange = self.exchange(mount, routed, request_id, request.method, place, self.headers_for(request.headers))
        version = f"{request.version.major}.{request.version.minor}"
        exchange.tell = lambda head: self.application_head(head, client, request.headers, version)
        try:
            exchange.take_body(await read_parts(request, self.body_limit, self.body_seconds))
        except (TooLarge, BodyStalled, BodyBroken) as error:
            return self.refuse(request, mount, request_id, self.refusal_of(error))
        refused = await self.begin(exchange)
        return exchange if refused is None else self.refuse(request, mount, request_id, refused)

    async def begin(self, exchange: Exchange) -> Refusal | None:
        """Gives the call to an instance, waiting for one if need be; or says why there is none, and records that."""
        application = exchange.target.application
        refusal = NOT_AVAILABLE._replace(error=exchange.target.problem)
        if application is not None:
            try:
                instance, cold = self.pool.lease(application), False
                if instance is None:
                    instance, cold = await self.pool.acquire(application)
                if instance.is_application:
                    if exchange.tell is None:
                        self.pool.release(instance)
                        return APPLICATION
                    exchange.event = exchange.tell(exchange.event)
                exchange.start(instance, application.timeout_seconds, cold=cold)
                return None
            except (NotServed, StartFailed, DriverUnavailable) as error:
                refusal = self.refusal_of(error)
                if isinstance(error, StartFailed) and error.log:
                    exchange.log(error.log.encode("utf-8", "replace"))
        exchange.fail(refusal.code, refusal.error)
        exchange.sent_status = refusal.status if exchange.trigger == "gateway" else None
        exchange.record()
        return refusal

    async def _finish(self, request: web.BaseRequest, exchange: Exchange) -> web.StreamResponse:
        """Answers with what the call brings."""
        mount = exchange.mount
        assert mount is not None
        try:
            await exchange.begun()
            if exchange.failure is not None:
                await exchange.settle()
                refusal = failure_of(exchange)
                exchange.sent_status = refusal.status
                exchange.record()
                return self.refuse(request, mount, exchange.request_id, refusal)
            assert exchange.answer is not None
            origin = request.headers.get("Origin")
            headers = self.head_of(mount, exchange.answer, exchange.request_id, origin, exchange.path)
            if exchange.streams:
                return await send_stream(request, exchange, headers)
            return send_whole(request, exchange, headers)
        finally:
            # Whatever ended this, the instance does not go on for nobody.
            exchange.cancel()
            exchange.record(gone=True)

    # Answers without a function.

    def refuse(self, request: web.BaseRequest, mount: Mount | None, request_id: str, refusal: Refusal) -> web.Response:
        """The response of a refusal; `mount` is None on a host of its own that has no project."""
        headers: list[Header] = [("X-Request-Id", request_id), *refusal.headers]
        if mount is not None:
            headers += mount.headers
            if mount.project.cors and refusal.status != 204:
                headers = cors.share(headers, mount.project.cors, request.headers.get("Origin"))
        body = b""
        if refusal.detail:
            error = None if mount is None else self.for_author(request, mount.project, refusal)
            body = error_body(refusal.detail, refusal.code, request_id, error)
            headers += JSON
        response = send_whole(request, None, headers, refusal.status, body)
        if refusal.status in {400, 408, 413}:
            response.force_close()
        return response

    def for_author(self, request: web.BaseRequest, project: ProjectTable, refusal: Refusal) -> str | None:
        """What else there is to say of what went wrong, as the log has it; None where the caller may not see it."""
        if not refusal.error:
            return None
        client: Client = request.protocol  # type: ignore[assignment]
        address = self.proxies.client(client.peer, request.headers)
        if not self.may_read_logs(request.headers.get("Authorization"), project.project_id, address):
            return None
        return self._redact(project.project_id, refusal.error)

    def refusal_of(self, error: Exception) -> Refusal:
        """What a caller is told of a request that no function was asked about."""
        match error:
            case TooLarge():
                size = f"{self.body_limit // 1024**2} MB" if self.body_limit >= 1024**2 else f"{self.body_limit} bytes"
                return Refusal(413, "too_large", f"The request body is over {size}")
            case BodyStalled():
                return Refusal(408, "bad_request", "The request body did not come")
            case BodyBroken():
                return Refusal(400, "bad_request", "The request body is not what its headers say")
            case Busy():
                return Refusal(429, "busy", "All instances of the function are busy", _retry(error), str(error))
            case NotServed():
                return Refusal(503, "unavailable", "The function cannot run now", _retry(error), str(error))
            case StartFailed():
                return Refusal(503, "start_failed", "Function did not start", (("Retry-After", "5"),), error.text)
            case _:
                detail = "Functions cannot run on this server now"
                later = "5" if isinstance(error, DriverUnavailable) and error.passing else "30"
                return Refusal(503, "unavailable", detail, (("Retry-After", later),), str(error))


def describes_itself(mount: Mount, path: str | None) -> bool:
    """Whether an application's own description is asked for, on the host where its pages have no origin."""
    return not mount.own_host and path is not None and path.endswith("/openapi.json")


def _retry(error: NotServed) -> tuple[Header, ...]:
    return (("Retry-After", str(error.retry_after)),)


def failure_of(exchange: Exchange) -> Refusal:
    """What a caller is told of a call that failed."""
    assert exchange.failure is not None
    code, text = exchange.failure
    application = exchange.target.application
    seconds = application.timeout_seconds if application is not None else 0.0
    status, detail = {
        "function_failed": (500, "Function failed"),
        "bad_response": (502, "The function gave an answer that cannot be sent"),
        "timeout": (504, f"Function timed out after {seconds:g} seconds"),
        "out_of_memory": (502, "Function ran out of memory"),
        "crashed": (502, "Function crashed"),
    }.get(code, (502, "Function crashed"))
    return Refusal(status, code, detail, (), text)


def _path_and_head(mount: Mount, routed: Routed, place: Place) -> tuple[str, bytes]:
    """The path as it was asked, decoded, and the beginning of a call's head."""
    application = routed.target.application
    asked = place.path if "%" not in place.path else "/".join(map(decode, place.path.split("/")))
    path = asked[:-1] if len(asked) > 1 and asked.endswith("/") else asked
    head = {
        "trigger": "gateway",
        "release": mount.project.release,
        "timeout": 0.0 if application is None else application.timeout_seconds,
        "prefix": mount.prefix,
        "method": routed.method,
        "path": path,
        "params": routed.params,
        "query": place.query,
    }
    if path != place.path:
        # For applications, which are told of every byte.
        head["raw_path"] = place.path
    return asked, begin_head(head)
