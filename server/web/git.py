"""The git remote: `/git/PROJECT.git` over smart HTTP, for those who may.

What a caller may do is decided by the path that git's own protocol calls, never by what else a request says. Errors
are plain text, which git shows to its user.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError

from clowdy.schema.names import is_project
from clowdy.server.errors import ClowdyError, NotAuthenticated, NotFound
from clowdy.server.git.body import Body
from clowdy.server.git.repos import Repository
from clowdy.server.git.wire import GitWire, Service
from clowdy.server.people.tokens import Principal
from clowdy.server.web.middleware import REQUEST_ID, set_headers, status_of

PROJECT_NOT_FOUND = "Project not found"
BODY_STALLS_SECONDS = 30.0
INFLATED_BYTES = 64 * 1024
"""How much of a compressed body is inflated at a time."""

_PROTOCOL = re.compile(r"version=[012]")
_NEVER_KEPT = {"Cache-Control": "no-cache, max-age=0, must-revalidate", "Pragma": "no-cache"}


@dataclass(frozen=True, slots=True)
class Located:
    """A project that the caller may use in this way; `repository` is None when a push may create it."""

    repository: Repository | None
    project_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """A push that may begin, and the repository that takes it in."""

    push_id: str
    repository: Repository


class GitEndpoint:
    """Serves clones, fetches and pushes through what the composition root hands down.

    `authenticate` says who calls, `locate` whether they may do this to the project of that name; both raise what
    callers may be told. `open_push` and `close_push` frame each push, also one that fails.
    """

    def __init__(
        self,
        wire: GitWire,
        *,
        authenticate: Callable[[web.Request], Awaitable[Principal]],
        locate: Callable[[Principal, str, Service], Awaitable[Located]],
        open_push: Callable[[Principal, str, Located], Awaitable[Ticket]],
        close_push: Callable[[str], Awaitable[None]],
    ) -> None:
        self._wire = wire
        self._authenticate = authenticate
        self._locate = locate
        self._open_push = open_push
        self._close_push = close_push

    def routes(self) -> list[web.RouteDef]:
        """The only paths there are: no file of a repository has a URL."""
        base = "/git/{project}.git"
        return [
            web.get(f"{base}/info/refs", self._told(self.info_refs), allow_head=False),
            web.post(f"{base}/{Service.FETCH}", self._told(self.fetch)),
            web.post(f"{base}/{Service.PUSH}", self._told(self.push)),
        ]

    async def info_refs(self, request: web.Request) -> web.StreamResponse:
        """The refs of a project, or of an empty repository where a push may create it."""
        asked = request.query.getall("service", [])
        if len(asked) != 1 or asked[0] not in tuple(Service):
            return _text(403, "this server speaks git's smart HTTP protocol only")
        service = Service(asked[0])
        _, _, located = await self._admit(request, service)
        path = located.repository.path if located.repository is not None else None
        refs = await self._wire.advertise(service, path, _protocol(request))
        return web.Response(body=refs, content_type=f"application/x-{service}-advertisement", headers=_NEVER_KEPT)

    async def fetch(self, request: web.Request) -> web.StreamResponse:
        """One round of a clone or fetch."""
        if (refusal := _refuse_request(request, Service.FETCH)) is not None:
            return refusal
        _, _, located = await self._admit(request, Service.FETCH)
        if located.repository is None:
            raise NotFound(PROJECT_NOT_FOUND)
        answer = _Answer(request, Service.FETCH)
        await self._wire.fetch(located.repository.path, _body(request), answer, _protocol(request))
        return await answer.end()

    async def push(self, request: web.Request) -> web.StreamResponse:
        """One push, or git's probe before a push of unknown length, which opens none."""
        if (refusal := _refuse_request(request, Service.PUSH)) is not None:
            return refusal
        principal, project, located = await self._admit(request, Service.PUSH)
        body = _body(request)
        if await body.is_probe():
            return web.Response(content_type=f"application/x-{Service.PUSH}-result", headers=_NEVER_KEPT)
        ticket = await self._open_push(principal, project, located)

        async def close() -> None:
            await self._close_push(ticket.push_id)

        answer = _Answer(request, Service.PUSH)
        await self._wire.push(ticket.repository.path, ticket.push_id, body, answer, _protocol(request), closing=close)
        return await answer.end()

    async def _admit(self, request: web.Request, service: Service) -> tuple[Principal, str, Located]:
        principal = await self._authenticate(request)
        project = request.match_info["project"]
        if service is Service.FETCH and not is_project(project):
            raise NotFound(PROJECT_NOT_FOUND)
        located = await self._locate(principal, project, service)
        if located.repository is None and service is Service.FETCH:
            raise NotFound(PROJECT_NOT_FOUND)
        return principal, project, located

    def _told(
        self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def told(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except ClowdyError as error:
                status = status_of(error)
                if status == 500:
                    raise
                headers = {"WWW-Authenticate": 'Basic realm="clowdy"'} if isinstance(error, NotAuthenticated) else {}
                if status in (429, 503):
                    headers["Retry-After"] = "10"
                return _text(status, error.message, headers)
            except (ConnectionError, TimeoutError):
                if request.writer.output_size > 0 and request.transport is not None:
                    request.transport.abort()
                response = _text(408, "the request was not sent to its end")
                response.force_close()
                return response

        return told


class _Answer:
    """The client of one request, as git's output reaches it."""

    def __init__(self, request: web.Request, service: Service) -> None:
        self._request = request
        self._response = web.StreamResponse(headers=_NEVER_KEPT)
        self._response.content_type = f"application/x-{service}-result"

    async def write(self, piece: bytes) -> None:
        """Sends a piece; raises ConnectionError when the client is gone."""
        if not self._response.prepared:
            set_headers(self._response, self._request.get(REQUEST_ID, ""))
            await self._response.prepare(self._request)
        await self._response.write(piece)

    def drop(self) -> None:
        """Cuts the connection."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def end(self) -> web.StreamResponse:
        """The response, complete."""
        if not self._response.prepared:
            return _text(400, "git could not read this request")
        return self._response


def _refuse_request(request: web.Request, service: Service) -> web.Response | None:
    # A form of another site can post, but not with this type.
    if request.headers.getall("Content-Type", []) != [f"application/x-{service}-request"]:
        return _text(415, f"Content-Type must be application/x-{service}-request")
    if request.headers.get("Content-Encoding", "identity").lower() not in ("identity", "gzip", "x-gzip"):
        return _text(415, "Content-Encoding must be gzip or nothing")
    return None


def _protocol(request: web.Request) -> str | None:
    said = request.headers.get("Git-Protocol", "")
    return said if _PROTOCOL.fullmatch(said) else None


def _body(request: web.Request) -> Body:
    return Body(_pieces(request), BODY_STALLS_SECONDS)


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    zipped = request.headers.get("Content-Encoding", "identity").lower() != "identity"
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16) if zipped else None
    try:
        async for piece in request.content.iter_any():
            if inflater is None:
                yield piece
                continue
            while piece and (inflated := inflater.decompress(piece, INFLATED_BYTES)):
                yield inflated
                piece = inflater.unconsumed_tail
        if inflater is not None and not inflater.eof:
            raise ConnectionError("the request was cut: it is not gzip to its end")
    except (zlib.error, ClientError, HttpProcessingError, web.RequestPayloadError) as error:
        raise ConnectionError(f"the request was cut: {error}") from None


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers=headers)
