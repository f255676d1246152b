"""What a caller sees of a function's answer: checked, confined, and as the bytes of a response.

The head of an answer comes from where user code runs and may hold anything.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

import orjson

from clowdy.server.serve.requests import HOP_BY_HOP, SESSION_COOKIES

Header = tuple[str, str]

JSON: tuple[Header, ...] = (("Content-Type", "application/json"),)

SANDBOX = "sandbox allow-scripts allow-forms allow-popups allow-downloads"
"""The policy of what functions answer on the pages' host: their scripts get an origin of their own."""

SERVER = "clowdy"
HEAD_LIMIT = 64 * 1024
"""The most that the headers of an answer may hold, in bytes."""

HEADERS_LIMIT = 256

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
# Set by the gateway, whatever the function says.
_OURS = HOP_BY_HOP | {"content-length", "x-request-id", "x-clowdy-release"}
# What concerns a whole host would concern the pages as well.
_HOST_WIDE = frozenset(
    {
        "alt-svc",
        "clear-site-data",
        "nel",
        "origin-agent-cluster",
        "public-key-pins",
        "report-to",
        "service-worker-allowed",
        "strict-transport-security",
    }
)
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class BadAnswer(ValueError):
    """The answer cannot be sent"""


class AnswerHead(NamedTuple):
    """Status and headers of a checked answer. `length` is the Content-Length that the function gave, if any.

    Bytes of a value that are no UTF-8 are lone surrogates in it, as Python writes them.
    """

    status: int
    headers: tuple[Header, ...]
    length: int | None = None


PLAIN = AnswerHead(200, JSON)


def read_head(content: bytes, *, as_bytes: bool = False) -> AnswerHead:
    """The head that an instance sent, checked; raises BadAnswer saying what cannot be sent.

    `as_bytes`: it is of an application, whose values are bytes, each a character of Latin-1.
    """
    if not content:
        return PLAIN
    try:
        head = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise BadAnswer("the head of the answer is not JSON") from None
    if not isinstance(head, dict):
        raise BadAnswer("the head of the answer is not an object")
    status = head.get("status", 200)
    if type(status) is not int or not 200 <= status <= 599:
        raise BadAnswer(f"statusCode {_shown(status)} is not a number from 200 to 599")
    given = head.get("headers", [])
    if not isinstance(given, list) or len(given) > HEADERS_LIMIT:
        raise BadAnswer(f"headers must be a list of at most {HEADERS_LIMIT}")
    headers: list[Header] = []
    length: int | None = None
    size = 0
    for item in given:
        if not (isinstance(item, list) and len(item) == 2 and all(isinstance(part, str) for part in item)):
            raise BadAnswer(f"header {_shown(item)} is not a name and a text")
        name, value = item[0], item[1].strip(" \t")
        if _NAME.fullmatch(name) is None:
            raise BadAnswer(f"header name {_shown(name)} is not allowed in HTTP")
        if _FORBIDDEN.search(value) is not None:
            raise BadAnswer(f"the value of header {name} has a character that is not allowed in HTTP")
        if not value.isascii():
            value = _exact(name, value) if as_bytes else _decoded(value)
        size += len(name) + len(to_bytes(value)) + 4
        if size > HEAD_LIMIT:
            raise BadAnswer(f"the headers are over {HEAD_LIMIT // 1024} KB")
        lower = name.lower()
        if lower == "content-length":
            if not (value.isascii() and value.isdigit() and len(value) < 19):
                raise BadAnswer(f"Content-Length {_shown(value)} is not a number")
            length = int(value)
        if lower not in _OURS:
            headers.append((name, value))
    return AnswerHead(status, tuple(headers), length)


def is_sendable(value: str) -> bool:
    """Whether HTTP allows a text as a header's value."""
    return _FORBIDDEN.search(value) is None


def to_bytes(text: str) -> bytes:
    """A checked header as it is sent."""
    return text.encode("utf-8", "surrogateescape")


def _exact(name: str, value: str) -> str:
    try:
        return value.encode("latin-1").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise BadAnswer(f"the value of header {name} has a character that is not Latin-1") from None


def _decoded(value: str) -> str:
    """A text whose characters are the bytes of UTF-8 is sent as these bytes; any other as its own UTF-8."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def confine(headers: Iterable[Header], prefix: str) -> list[Header]:
    """The headers of an answer on the host that serves the pages: its function cannot act for the visitor there.

    Cookies are sent back below `prefix` alone, and headers that speak for the whole host are left out.
    """
    confined: list[Header] = []
    for name, value in headers:
        lower = name.lower()
        if lower in _HOST_WIDE:
            continue
        if lower == "set-cookie":
            cookie = _confine_cookie(value, f"{prefix}/")
            if cookie is not None:
                confined.append((name, cookie))
            continue
        confined.append((name, value))
    return confined


def _confine_cookie(cookie: str, path: str) -> str | None:
    pair, *attributes = cookie.split(";")
    if _is_ours(pair):
        return None
    kept = [pair]
    for attribute in attributes:
        name, _, value = attribute.partition("=")
        match name.strip().lower():
            case "domain":
                pass
            case "path":
                # A narrower path stays, the last one counts, as in browsers.
                path = value.strip() if value.strip().startswith(path) else path
            case _:
                kept.append(attribute)
    return ";".join([*kept, f" Path={path}"])


def without_session(headers: Iterable[Header]) -> list[Header]:
    """The headers of an answer on a host of the project's own, less cookies under the name of Clowdy's session.

    Set for the domain above, these would reach the pages.
    """
    return [
        (name, value)
        for name, value in headers
        if not (name.lower() == "set-cookie" and _is_ours(value.partition(";")[0]))
    ]


def _is_ours(pair: str) -> bool:
    # A cookie without a name, `=a=b`, is sent back as `a=b`.
    return pair.strip(" \t=").partition("=")[0].strip() in SESSION_COOKIES


def error_body(detail: str, code: str, request_id: str, error: str | None = None) -> bytes:
    """The JSON of every error of the gateway; `error` is for those who may see what the function's author sees."""
    content = {"detail": detail, "code": code, "request_id": request_id}
    if error is not None:
        content["error"] = error
    # What comes from a request or a function may hold lone surrogates.
    try:
        return orjson.dumps(content)
    except TypeError:
        return orjson.dumps({key: value.encode("utf-8", "replace").decode() for key, value in content.items()})


def serialise(status: int, headers: Sequence[Header]) -> bytes:
    """Status line and headers as they are sent, for headers that were checked before."""
    lines = [f"HTTP/1.1 {status} {reason(status)}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return to_bytes("\r\n".join(lines))


def reason(status: int) -> str:
    """The reason phrase of a status, empty where it has none."""
    return _REASONS.get(status, "")


def has_body(method: str, status: int) -> bool:
    """Whether an answer to `method` with `status` may have a body."""
    return method != "HEAD" and status not in (204, 304)


class _Date:
    """The Date header, made once a second."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def __call__(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._text = formatdate(second, usegmt=True)
        return self._text


date = _Date()
"""The Date header of now."""
