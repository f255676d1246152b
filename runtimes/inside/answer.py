"""What a handler returned, as the head and body that go back; what cannot be sent raises BadResponse."""

from __future__ import annotations

from .codec import to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ANSWER_LIMIT = 6 * 1024 * 1024
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_FORBIDDEN = frozenset(chr(code) for code in (*range(9), *range(10, 32), 127))
# The connection is the server's: what speaks of it is left out. The length follows from the body.
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_TEXT = b'{"status":200,"headers":[["Content-Type","text/plain; charset=utf-8"]]}'
_BINARY = b'{"status":200,"headers":[["Content-Type","application/octet-stream"]]}'


class BadResponse(Exception):
    """A result that cannot be sent; the message tells the function's author why."""


def encode(value: Any, http: bool) -> tuple[bytes, bytes]:
    """Head and body for `value`; an empty head is 200 and JSON. Without `http` it is the JSON of `value` alone."""
    if not http:
        body = _json(_without_bytes(value))
        head = b""
    elif type(value) is dict and "statusCode" not in value:
        head, body = b"", _json(value)
    elif isinstance(value, str):
        head, body = _TEXT, _text(value)
    elif isinstance(value, bytes | bytearray | memoryview):
        head, body = _BINARY, bytes(value)
    elif isinstance(value, dict) and "statusCode" in value:
        head, body = _response(value)
    else:
        head, body = b"", _json(value)
    if len(body) > ANSWER_LIMIT:
        raise BadResponse(f"Function returned {len(body)} bytes; an answer may have {ANSWER_LIMIT}")
    return head, body


def _json(value: Any) -> bytes:
    try:
        return to_bytes(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadResponse(
            f"Function returned non-JSON-serializable value: {type(value).__name__} ({_reason(error)})"
        ) from None


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error)[:200]


def _without_bytes(value: Any) -> Any:
    """For a caller who takes JSON alone, bytes are base64, as they would be in an event."""
    if isinstance(value, bytes | bytearray | memoryview):
        return {"body": _base64(bytes(value)), "isBase64Encoded": True}
    if isinstance(value, dict) and isinstance(value.get("body"), bytes | bytearray | memoryview):
        return {**value, "body": _base64(bytes(value["body"])), "isBase64Encoded": True}
    return value


def _base64(data: bytes) -> str:
    from binascii import b2a_base64

    return b2a_base64(data, newline=False).decode("ascii")


def _text(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise BadResponse("Function returned text that UTF-8 cannot hold") from None


def _response(value: dict[str, Any]) -> tuple[bytes, bytes]:
    status, headers = response_head(value)
    body, content_type = response_body(value)
    if status in (204, 304):
        body = b""
    elif not has_content_type(headers):
        headers.append(["Content-Type", content_type])
    return dump_head(status, headers), body


def dump_head(status: int, headers: list[list[str]]) -> bytes:
    """The head of an answer as it is sent."""
    return to_bytes({"status": status, "headers": headers})


def has_content_type(headers: list[list[str]]) -> bool:
    """Whether the author said what the body is."""
    return any(name.lower() == "content-type" for name, _ in headers)


def response_head(value: dict[str, Any]) -> tuple[int, list[list[str]]]:
    """Status and headers of a dict with `statusCode`, its cookies among them; raises BadResponse."""
    status = value["statusCode"]
    if not isinstance(status, int) or isinstance(status, bool) or not 200 <= status <= 599:
        raise BadResponse(f"statusCode is {status!r:.100}; it must be a whole number from 200 to 599")
    headers = _headers(value.get("headers"))
    cookies = value.get("cookies")
    if cookies is not None:
        if not isinstance(cookies, list | tuple) or not all(isinstance(cookie, str) for cookie in cookies):
            raise BadResponse("cookies must be a list of texts")
        headers.extend(["Set-Cookie", _value("Set-Cookie", cookie)] for cookie in cookies)
    return int(status), headers


def response_body(value: dict[str, Any]) -> tuple[bytes, str]:
    """The body of a dict with `statusCode`, and its type where the author names none; raises BadResponse."""
    body = value.get("body", "")
    encoded = value.get("isBase64Encoded", False)
    if encoded is True:
        from binascii import Error, a2b_base64

        try:
            if not isinstance(body, str | bytes):
                raise ValueError("not text")
            return a2b_base64(body, strict_mode=True), "application/octet-stream"
        except (Error, ValueError):
            raise BadResponse("isBase64Encoded is true and body is not base64") from None
    if encoded not in (False, None):
        raise BadResponse("isBase64Encoded must be true or false")
    if isinstance(body, str):
        return _text(body), "text/plain; charset=utf-8"
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body), "application/octet-stream"
    return _json(body), "application/json"


def _headers(headers: Any) -> list[list[str]]:
    if headers is None:
        return []
    if not isinstance(headers, dict):
        raise BadResponse(f"headers must be a dict, not {type(headers).__name__}")
    pairs: list[list[str]] = []
    for name, value in headers.items():
        if not isinstance(name, str) or not name or not _TOKEN.issuperset(name):
            raise BadResponse(f"header name {name!r:.100} is not allowed in HTTP")
        for one in value if isinstance(value, list | tuple) else (value,):
            text = _value(name, one)
            if name.lower() not in _HOP_BY_HOP:
                pairs.append([name, text])
    return pairs


def _value(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadResponse(f"the value of header {name} is {type(value).__name__}; it must be text or a number")
    text = str(value).strip(" \t")
    if not _FORBIDDEN.isdisjoint(text) or (not text.isascii() and max(text) > "\xff"):
        raise BadResponse(f"the value of header {name} holds what HTTP forbids")
    return text
