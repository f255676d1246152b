"""What a function sees of a request: the head of its call, without the connection's and Clowdy's own headers."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from aiohttp import web

IDLE_SECONDS = 30.0
"""How long a client may take over the next piece of its body."""

BODY_SECONDS = 300.0
"""How long the whole of a body may take, however steadily it drips."""

SESSION_COOKIES = ("clowdy_session", "__Host-clowdy_session")

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that concern one connection: neither a function nor a caller gets them from the other."""

IsOwnToken = Callable[[str], bool]
"""Whether a text is a token of this server."""

_CREDENTIALS = frozenset({"authorization", "x-api-key"})
_LOOKED_AT = HOP_BY_HOP | _CREDENTIALS | {"cookie"}
_BETWEEN_TOKENS = re.compile(r"[\s,;=\"']+")


class TooLarge(Exception):
    """The body is over the limit"""


class BodyStalled(Exception):
    """The body did not come"""


class BodyBroken(Exception):
    """The body is not what its headers say"""


def split_target(target: str) -> tuple[str, str]:
    """Path and query of a request target, both as they were sent; a fragment, which has no business there, is cut."""
    path, _, query = target.partition("#")[0].partition("?")
    return path, query


def function_headers(headers: Iterable[tuple[str, str]], is_own_token: IsOwnToken) -> dict[str, str]:
    """The headers that a function sees, names in lower case, those that came several times joined by `, `.

    Taken out are the headers of the connection, Clowdy's session cookie, and Authorization and X-Api-Key where they
    carry a token of this server.
    """
    seen: dict[str, str] = {}
    named: list[str] = []
    for raw_name, raw_value in headers:
        name = raw_name.lower()
        value = raw_value
        if name in _LOOKED_AT:
            if name == "cookie":
                value = _without_session(value)
                if value and name in seen:
                    # RFC 9113, 8.2.3: cookies that were split into several headers are joined by `; `.
                    seen[name] = f"{seen[name]}; {value}"
                    continue
            elif name in _CREDENTIALS:
                if _carries_token(value, is_own_token):
                    continue
            else:
                if name == "connection":
                    named.append(value)
                continue
            if not value:
                continue
        if name in seen:
            seen[name] = f"{seen[name]}, {value}"
        else:
            seen[name] = value
    for options in named:
        for option in options.split(","):
            seen.pop(option.strip().lower(), None)
    return seen


def _without_session(cookies: str) -> str:
    if not any(name in cookies for name in SESSION_COOKIES):
        return cookies
    kept = [pair for pair in cookies.split(";") if pair.partition("=")[0].strip() not in SESSION_COOKIES]
    return ";".join(kept).strip()


def _carries_token(value: str, is_own_token: IsOwnToken) -> bool:
    """Whether a header's value has a token of this server in it, in whatever scheme, or as part of Basic."""
    scheme, _, rest = value.strip().partition(" ")
    rest = rest.strip()
    # Whole before in parts: a preset token may have any characters, those between parts as well.
    texts = {value.strip(), rest, *_BETWEEN_TOKENS.split(value)}
    if scheme.lower() == "basic":
        # Without validation, since a decoder further on may be as lenient.
        with contextlib.suppress(binascii.Error, ValueError):
            decoded = base64.b64decode(rest + "==").decode("utf-8", "surrogateescape")
            user, _, password = decoded.partition(":")
            texts |= {decoded, user, password}
    return any(is_own_token(form) for text in texts if text for form in _spellings(text))


def _spellings(text: str) -> tuple[str, ...]:
    """`text` as it was decoded, and as it reads where its bytes were Latin-1."""
    latin = _latin(text)
    return (text,) if latin == text else (text, latin)


def dump_head(head: Mapping[str, Any]) -> bytes:
    """The JSON of the head of a call that is no request."""
    return orjson.dumps(head)


def begin_head(head: Mapping[str, Any]) -> bytes:
    """The JSON of what requests for one target have in common, to be completed. `head` must not be empty."""
    try:
        return orjson.dumps(head)[:-1]
    except TypeError:
        # Lone surrogates: aiohttp's way of handing on bytes that are no UTF-8.
        clean = {name: _latin(value) if isinstance(value, str) else value for name, value in head.items()}
        return orjson.dumps(clean)[:-1]


def complete_head(beginning: bytes, request_id: str, headers: Mapping[str, str]) -> bytes:
    """The whole JSON of a request's head. Bytes of headers that are no UTF-8 are taken for Latin-1."""
    try:
        dumped = orjson.dumps(headers)
    except TypeError:
        dumped = orjson.dumps({name: _latin(value) for name, value in headers.items()})
    return b'%b,"request_id":"%b","headers":%b}' % (beginning, request_id.encode(), dumped)


def header_fields(headers: Iterable[tuple[str, str]], is_own_token: IsOwnToken) -> list[tuple[str, str]] | None:
    """What `function_headers` lets pass, each header as often as it was sent, its bytes as Latin-1.

    None where that is no more than `function_headers` says.
    """
    pairs = [(name.lower(), value) for name, value in headers]
    if len({name for name, _ in pairs}) == len(pairs) and all(value.isascii() for _, value in pairs):
        return None
    passing = function_headers(pairs, is_own_token)
    fields: list[tuple[str, str]] = []
    for name, value in pairs:
        kept = function_headers(((name, value),), is_own_token).get(name)
        if kept is not None and name in passing:
            fields.append((name, kept.encode("utf-8", "surrogateescape").decode("latin-1")))
    return fields


def tell_more(head: bytes, more: Mapping[str, Any]) -> bytes:
    """The head of a request's call with what applications are told besides."""
    return b"%b,%b" % (head[:-1], orjson.dumps(more)[1:])


def _latin(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("latin-1")
    return text


async def read_body(
    request: web.BaseRequest, limit: int, idle_seconds: float = IDLE_SECONDS, whole_seconds: float = BODY_SECONDS
) -> bytes:
    """The whole body; see `read_parts`."""
    return b"".join(await read_parts(request, limit, idle_seconds, whole_seconds))


async def read_parts(
    request: web.BaseRequest, limit: int, idle_seconds: float = IDLE_SECONDS, whole_seconds: float = BODY_SECONDS
) -> list[bytes]:
    """The whole body in the parts in which it came, after a `100 Continue` for a client that waits for one.

    Raises TooLarge as soon as that is known, which is before anything is read where the size was announced,
    BodyStalled when nothing came for `idle_seconds` or all did not come within `whole_seconds`, and BodyBroken.
    Whoever answers then should close the connection; aiohttp goes on reading for some seconds, so that the client sees
    the answer.
    """
    announced = request.content_length
    if announced is not None and announced > limit:
        raise TooLarge
    if not request.body_exists:
        return []
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # What was sent so far is no part of the answer to come.
        request.writer.output_size = 0
    pieces: list[bytes] = []
    size = 0
    loop = asyncio.get_running_loop()
    end = loop.time() + whole_seconds
    while True:
        try:
            async with asyncio.timeout_at(min(end, loop.time() + idle_seconds)):
                piece = await request.content.readany()
        except TimeoutError:
            raise BodyStalled from None
        except web.RequestPayloadError:
            raise BodyBroken from None
        if not piece:
            return pieces
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise TooLarge
