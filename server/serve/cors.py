"""What answers say to browsers whose page is of another origin, and to the caches on their way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clowdy.schema.parse import ANY_ORIGIN
from clowdy.server.serve.answers import Header, is_sendable

PREFLIGHT_SECONDS = 600
NO_ORIGIN = "null"
"""What a browser sends for a page without an origin, such as one that the pages' host keeps in a sandbox."""


def share(
    headers: list[Header], allowed: Sequence[str], origin: str | None, *, described: bool = False
) -> list[Header]:
    """The headers of an answer with what lets a page of `origin` read it, unless the function says who may.

    Origins that are named may send their cookies, any origin not. What is said does not wait for a request that names
    its origin: a cache keeps the first answer, and gives it to the page of an allowed origin after that.

    `described` is the answer that a page of documentation documents. Where that page has no origin it could not show
    it; without the visitor's credentials, which this does not allow to be sent, anybody gets the same.
    """
    said = any(name.lower() == "access-control-allow-origin" for name, _ in headers)
    if ANY_ORIGIN in allowed:
        if said:
            return headers
        return [*headers, ("Access-Control-Allow-Origin", ANY_ORIGIN), ("Access-Control-Expose-Headers", "*")]
    headers = vary(headers)
    if described and origin == NO_ORIGIN and not said:
        return [*headers, ("Access-Control-Allow-Origin", NO_ORIGIN)]
    if said or origin is None or origin not in allowed:
        return headers
    return [
        *headers,
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Expose-Headers", "X-Request-Id, X-Clowdy-Release"),
    ]


def vary(headers: Sequence[Header]) -> list[Header]:
    """The headers of an answer that is another for another origin: one `Vary`, with what it had before."""
    fields = [field.strip() for name, value in headers if name.lower() == "vary" for field in value.split(",")]
    if "*" not in fields and "origin" not in map(str.lower, fields):
        fields.append("Origin")
    others = [header for header in headers if header[0].lower() != "vary"]
    return [*others, ("Vary", ", ".join(filter(None, fields)))]


def answer_options(allowed: Sequence[str], asked: Mapping[str, str], allow: str) -> list[Header]:
    """What `OPTIONS` is told where `allow` are the methods: a preflight comes before what a form could not send."""
    if not allowed:
        return []
    headers = share([], allowed, asked.get("Origin"))
    is_allowed = any(name == "Access-Control-Allow-Origin" for name, _ in headers)
    if not is_allowed or "Origin" not in asked or "Access-Control-Request-Method" not in asked:
        return headers
    headers = [header for header in headers if header[0] != "Access-Control-Expose-Headers"]
    headers.append(("Access-Control-Allow-Methods", allow))
    wanted = asked.get("Access-Control-Request-Headers", "")
    if wanted and is_sendable(wanted):
        headers.append(("Access-Control-Allow-Headers", wanted))
    headers.append(("Access-Control-Max-Age", str(PREFLIGHT_SECONDS)))
    return headers
