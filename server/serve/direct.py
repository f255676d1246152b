"""Calls of a function without a route: `POST /api/invoke/ID` and `POST /api/invoke/PROJECT/NAME`."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

import orjson
from aiohttp import web

from clowdy.schema.manifest import HandlerType
from clowdy.server.errors import NotAuthenticated
from clowdy.server.serve.answers import JSON, Header, error_body
from clowdy.server.serve.call_ids import new_call_id
from clowdy.server.serve.exchange import Exchange
from clowdy.server.serve.gateway import APPLICATION, Client, Gateway, Refusal, failure_of
from clowdy.server.serve.requests import BodyBroken, BodyStalled, TooLarge, dump_head, read_body
from clowdy.server.serve.table import ProjectTable, Target

Sees = Callable[[str], bool]
"""Whether somebody may see the project with an id."""

Identify = Callable[[str | None, str | None], Awaitable[Sees]]
"""Who has an Authorization header, coming from an address; raises NotAuthenticated."""

# orjson keeps integers of 64 bits; longer ones go through the standard library, which is exact.
_LONG_NUMBER = re.compile(rb"[0-9]{16}")


class Direct:
    """The two endpoints. `gateway` has the table and begins the calls, `identify` knows the tokens."""

    def __init__(self, gateway: Gateway, identify: Identify) -> None:
        self._gateway = gateway
        self._identify = identify

    def routes(self) -> list[web.RouteDef]:
        """Both, for the application that has the pages and the API."""
        return [
            web.post("/api/invoke/{function}", self.by_id),
            web.post("/api/invoke/{project}/{function}", self.by_name),
        ]

    async def by_id(self, request: web.Request) -> web.StreamResponse:
        """Anybody may call, unless the function is private: then it is not found without a token that sees it."""
        found = self._gateway.live.functions.get(request.match_info["function"])
        if found is None:
            return _nothing("Function not found")
        project, target = found
        if not target.public:
            try:
                sees = await self._who(request)
            except NotAuthenticated:
                return _nothing("Function not found")
            if not sees(project.project_id):
                return _nothing("Function not found")
        return await self._invoke(request, project, target)

    async def by_name(self, request: web.Request) -> web.StreamResponse:
        """Names can be guessed, so that this needs a token before it says what is there."""
        try:
            sees = await self._who(request)
        except NotAuthenticated as error:
            if error.retry_after_seconds is not None:
                later = {"Retry-After": str(error.retry_after_seconds)}
                return _error(429, "busy", error.message, new_call_id(), later)
            challenge = {"WWW-Authenticate": 'Bearer realm="clowdy"'}
            return _error(401, "unauthorized", error.message, new_call_id(), challenge)
        project = self._gateway.live.project(request.match_info["project"])
        if project is None or not sees(project.project_id):
            return _nothing("Project not found")
        target = project.functions.get(request.match_info["function"])
        if target is None:
            return _nothing("Function not found")
        return await self._invoke(request, project, target)

    async def _who(self, request: web.Request) -> Sees:
        client: Client = request.protocol  # type: ignore[assignment]
        address = self._gateway.proxies.client(client.peer, request.headers)
        return await self._identify(request.headers.get("Authorization"), address)

    async def _invoke(self, request: web.Request, project: ProjectTable, target: Target) -> web.StreamResponse:
        gateway = self._gateway
        request_id = new_call_id()
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            compressed = Refusal(415, "bad_request", "The request body must not be compressed")
            return self._refuse(request, project, request_id, compressed)
        try:
            event = _event_in(await read_body(request, gateway.body_limit, gateway.body_seconds))
        except (TooLarge, BodyStalled, BodyBroken) as error:
            return self._refuse(request, project, request_id, gateway.refusal_of(error))
        except ValueError as error:
            return self._refuse(request, project, request_id, Refusal(422, "bad_request", str(error)))
        application = target.application
        if application is not None and application.type in (HandlerType.ASGI, HandlerType.WSGI):
            return self._refuse(request, project, request_id, APPLICATION)
        head = {
            "trigger": "direct",
            "request_id": request_id,
            "release": project.release,
            "timeout": 0.0 if application is None else application.timeout_seconds,
        }
        exchange = Exchange(
            gateway.pool, gateway.ledger, project, target, request_id, "direct", None, None, dump_head(head)
        )
        exchange.body = event
        with gateway.leaving(request):
            refusal = await gateway.begin(exchange)
            if refusal is not None:
                return self._refuse(request, project, request_id, refusal)
            try:
                await exchange.begun()
                output = b"null" if exchange.failure is not None else await _output_of(exchange)
                await exchange.settle()
                exchange.record()
                return self._answer(request, exchange, output)
            finally:
                exchange.cancel()
                exchange.record(gone=True)

    def _answer(self, request: web.Request, exchange: Exchange, output: bytes) -> web.Response:
        """200 also where the handler failed: the call itself was answered."""
        rest = {
            "duration_ms": round(exchange.duration_ms, 3),
            "invocation_id": exchange.request_id,
            "cold_start": exchange.cold,
        }
        if exchange.failure is None:
            body = b'{"success":true,"output":%b,%b' % (output, orjson.dumps(rest)[1:])
        else:
            refusal = failure_of(exchange)
            text = self._gateway.for_author(request, exchange.project, refusal)
            error = refusal.detail if text is None else text.encode("utf-8", "replace").decode()
            body = orjson.dumps({"success": False, "error": error, "code": refusal.code, **rest})
        return web.Response(body=body, headers=_headers(exchange.project, exchange.request_id))

    def _refuse(
        self, request: web.Request, project: ProjectTable, request_id: str, refusal: Refusal
    ) -> web.StreamResponse:
        error = self._gateway.for_author(request, project, refusal)
        headers = {**_headers(project, request_id), **dict(refusal.headers)}
        response = _error(refusal.status, refusal.code, refusal.detail, request_id, headers, error)
        if refusal.status in {400, 408, 413}:
            response.force_close()
        return response


def _nothing(detail: str) -> web.Response:
    return _error(404, "not_found", detail, new_call_id())


def _error(
    status: int,
    code: str,
    detail: str,
    request_id: str,
    headers: Mapping[str, str] | None = None,
    error: str | None = None,
) -> web.Response:
    body = error_body(detail, code, request_id, error)
    return web.Response(status=status, body=body, headers={**dict(JSON), "X-Request-Id": request_id, **(headers or {})})


def _headers(project: ProjectTable, request_id: str) -> dict[str, str]:
    headers: list[Header] = [("Content-Type", "application/json"), ("X-Request-Id", request_id)]
    if project.release is not None:
        headers.append(("X-Clowdy-Release", str(project.release)))
    return dict(headers)


def _event_in(body: bytes) -> bytes:
    """The JSON of `input` in a request's body, `{}` without one; raises ValueError saying what is wrong."""
    if not body.strip():
        return b"{}"
    try:
        content = _parse(body)
    except (ValueError, RecursionError):
        raise ValueError("the body is not JSON") from None
    if not isinstance(content, dict):
        raise ValueError('the body must be an object like {"input": {}}')
    value = content.get("input", {})
    try:
        return orjson.dumps(value)
    except TypeError:
        # Long integers, deep nesting, lone surrogates.
        with contextlib.suppress(RecursionError):
            return json.dumps(value, separators=(",", ":")).encode()
        raise ValueError("the input is nested too deeply") from None


def _parse(body: bytes) -> Any:
    if _LONG_NUMBER.search(body) is None:
        with contextlib.suppress(ValueError):
            return orjson.loads(body)
    # orjson knows neither lone surrogates nor deep nesting.
    return json.loads(body, parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


async def _output_of(exchange: Exchange) -> bytes:
    """What the function returned, as JSON: text as a string, other bytes as in an event, a stream as its whole."""
    assert exchange.answer is not None
    if exchange.streams and not await exchange.whole():
        return b"null"
    body = exchange.answer_bytes
    kind = next((value for name, value in exchange.answer.headers if name.lower() == "content-type"), "")
    if kind.partition(";")[0].strip().lower() == "application/json":
        if _is_json(body):
            return body
        exchange.fail("bad_response", "the result is not JSON")
        return b"null"
    try:
        return orjson.dumps(body.decode())
    except UnicodeDecodeError:
        return orjson.dumps({"body": base64.b64encode(body).decode(), "isBase64Encoded": True})


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except ValueError:
        # orjson knows neither lone surrogates nor deep nesting.
        try:
            json.loads(body, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return False
    return True
