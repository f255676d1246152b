"""What every response of pages and API has: a request id, safe headers, and one shape for errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from clowdy.server.errors import (
    ClowdyError,
    Conflict,
    Invalid,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Refused,
    Unavailable,
)
from clowdy.server.ids import new_id
from clowdy.server.people.limits import TooManyAttempts
from clowdy.server.web.answers import error

REQUEST_ID = web.RequestKey("request_id", str)
STOPPING = web.AppKey("stopping", asyncio.Event)

# What no page of ours needs to override; the page says more of its own.
SAFE_HEADERS = {
    "Server": "clowdy",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cache-Control": "no-store",
}

# The first that an error is one of counts.
_STATUSES: tuple[tuple[type[ClowdyError], int], ...] = (
    (TooManyAttempts, 429),
    (NotAuthenticated, 401),
    (NotAllowed, 403),
    (NotFound, 404),
    (Conflict, 409),
    (Refused, 422),
    (Invalid, 422),
    (Unavailable, 503),
)

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def translate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives a request its id, and turns what the inside raised into the answer for its caller."""
    request_id = request[REQUEST_ID] = new_id()
    try:
        response = await handler(request)
    except web.HTTPException as http:
        response = _http_error(http, request_id)
    except ClowdyError as raised:
        response = _error(raised, request_id, request.path)
    except Exception:  # the caller must get an answer, and none of what went wrong inside
        log.exception("request %s %s %s failed", request_id, request.method, request.path)
        response = error("Internal server error", request_id, status=500)
    if not response.prepared:
        set_headers(response, request_id)
    return response


def set_headers(response: web.StreamResponse, request_id: str) -> None:
    """Adds what every response has, for those that are prepared before the middleware sees them."""
    response.headers.setdefault("X-Request-Id", request_id)
    for name, value in SAFE_HEADERS.items():
        response.headers.setdefault(name, value)


def status_of(raised: ClowdyError) -> int:
    """The HTTP status that tells of an error."""
    return next((status for kind, status in _STATUSES if isinstance(raised, kind)), 500)


def _error(raised: ClowdyError, request_id: str, path: str) -> web.Response:
    status = status_of(raised)
    if status == 500:
        # git's and the system's words name paths of this machine.
        log.error("request %s: %s", request_id, raised.message)
        return error("Internal server error", request_id, status=500)
    headers: Mapping[str, str] = {}
    if status == 401:
        headers = {"WWW-Authenticate": 'Bearer realm="clowdy"' if path.startswith("/api/") else 'Basic realm="clowdy"'}
    elif isinstance(raised, TooManyAttempts):
        headers = {"Retry-After": str(raised.retry_after_seconds)}
    elif status == 503:
        headers = {"Retry-After": "1"}
    if isinstance(raised, Refused):
        problems = [problem.as_json() for problem in raised.problems]
        return error(raised.message, request_id, status=status, headers=headers, problems=problems)
    return error(raised.message, request_id, status=status, headers=headers)


def _http_error(http: web.HTTPException, request_id: str) -> web.StreamResponse:
    if http.status < 400:
        return http
    headers = {name: http.headers[name] for name in ("Allow", "Location") if name in http.headers}
    return error(http.reason, request_id, status=http.status, headers=headers)
