"""What a handler is called with: the event and the context, made from a call's head and body."""

from __future__ import annotations

import time

from .codec import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Context(dict):  # type: ignore[type-arg]
    """What a handler may know of its call, as attributes and as a mapping."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the context has no {name!r}; it has {', '.join(self)}") from None

    def remaining_ms(self) -> int:
        """Milliseconds until the call is ended."""
        return max(0, int((self["deadline"] - time.time()) * 1000))


def context_of(head: dict[str, Any], names: dict[str, Any]) -> Context:
    """The context of one call; `names` is what all calls of an instance share."""
    context = Context(names)
    context["release"] = head["release"]
    context["request_id"] = head["request_id"]
    context["trigger"] = head["trigger"]
    context["deadline"] = time.time() + head["timeout"]
    return context


def event_of(head: dict[str, Any], body: bytes | bytearray) -> Any:
    """The event: the request for a gateway call, else the caller's JSON; raises ValueError where that is none."""
    if head["trigger"] != "gateway":
        return decode(body.decode())
    event = {
        "method": head["method"],
        "path": head["path"],
        "params": head["params"],
        "query": {},
        "headers": head["headers"],
        "body": None,
    }
    query = head["query"]
    if query:
        _add_query(event, query)
    if body:
        _add_body(event, body)
    return event


def _add_query(event: dict[str, Any], query: str) -> None:
    last: dict[str, str] = event["query"]
    every: dict[str, list[str]] = {}
    repeated = False
    for field in query.split("&"):
        if field:
            name, _, value = field.partition("=")
            name, value = unquote(name), unquote(value)
            last[name] = value
            values = every.setdefault(name, [])
            values.append(value)
            repeated = repeated or len(values) > 1
    if repeated:
        event["multiQuery"] = every


def _add_body(event: dict[str, Any], body: bytes | bytearray) -> None:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        from binascii import b2a_base64

        event["body"] = b2a_base64(body, newline=False).decode("ascii")
        event["isBase64Encoded"] = True
        return
    try:
        event["body"] = decode(text)
    except (ValueError, RecursionError):
        event["body"] = text


def unquote(text: str) -> str:
    """A name or value of a query, decoded once; what is not UTF-8 becomes U+FFFD, a stray `%` stays."""
    if "+" in text:
        text = text.replace("+", " ")
    if "%" not in text:
        return text
    first, *rest = text.split("%")
    parts = [first.encode("utf-8", "surrogatepass")]
    for part in rest:
        code = part[:2]
        try:
            if not code.isalnum():
                raise ValueError(code)
            parts.append(bytes.fromhex(code))
            parts.append(part[2:].encode("utf-8", "surrogatepass"))
        except ValueError:
            parts.append(b"%" + part.encode("utf-8", "surrogatepass"))
    return b"".join(parts).decode("utf-8", "replace")
