"""Routes as text: `GET /users/:id`, what it may say and which others are the same."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

from clowdy.schema.names import PARAMETER
from clowdy.schema.rejection import Rejection
from clowdy.schema.suggest import Suggester
from clowdy.schema.text import printable, quoted

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "ANY")
REQUEST_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

_parameter = re.compile(PARAMETER)
_escape = re.compile(r"%[0-9A-Fa-f]{2}")
_foreign_parameter = re.compile(r"\{([A-Za-z_]\w*)\}|<(?:\w+:)?([A-Za-z_]\w*)>|\[([A-Za-z_]\w*)\]", re.ASCII)
_ANSWERED_OTHERWISE = {
    "HEAD": "HEAD is served by GET: write a route for GET",
    "OPTIONS": "OPTIONS is answered by the gateway: leave the route out",
}


@dataclass(frozen=True, slots=True)
class RoutePattern:
    """A route's request line; `path` has no trailing slash, except `/` itself, which has no `segments`."""

    method: str
    path: str
    segments: tuple[str, ...]

    @property
    def shape(self) -> tuple[str, ...]:
        """The same for two routes that match the same requests: names of parameters make no difference."""
        return (self.method, *(segment if segment[0] not in ":*" else segment[0] for segment in self.segments))

    def matches(self, method: str, segments: tuple[str, ...]) -> bool:
        """Whether a request of `method` for the decoded `segments` could come here."""
        if self.method not in ("ANY", "GET" if method == "HEAD" else method):
            return False
        mine = self.segments
        if mine and mine[-1].startswith("*"):
            mine, segments = mine[:-1], segments[: len(mine) - 1]
        return len(mine) == len(segments) and all(
            bool(theirs) if own.startswith(":") else own == theirs for own, theirs in zip(mine, segments, strict=True)
        )

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def parse_route(text: str, suggest: Suggester) -> RoutePattern:
    """The pattern of `GET /users/:id`; raises Rejection."""
    method, _, path = text.strip(" ").partition(" ")
    path = path.lstrip(" ")
    if method.startswith("/") and not path:
        raise Rejection(
            "route-method", f"route {quoted(text)} has no method", f"did you mean {quoted(f'GET {method}')}?"
        )
    if method not in METHODS and method.upper() in METHODS and method.islower():
        method = method.upper()
    if method not in METHODS:
        hint = _ANSWERED_OTHERWISE.get(method.upper()) or suggest.hint(method, METHODS)
        raise Rejection(
            "route-method", f"{quoted(method)} is not a method of a route", hint or f"write one of {', '.join(METHODS)}"
        )
    path = _check_path(path)
    return RoutePattern(method, path, tuple(path[1:].split("/")) if path != "/" else ())


def _check_path(path: str) -> str:
    if not path.startswith("/"):
        raise Rejection(
            "route-path", f"path {quoted(path)} does not begin with /", f"did you mean {quoted('/' + path)}?"
        )
    if printable(path) != path:
        raise Rejection("route-path", f"path {quoted(path)} has a control or invisible character")
    if "?" in path or "#" in path:
        raise Rejection(
            "route-path",
            f"path {quoted(path)} has a {'?' if '?' in path else '#'}",
            "leave it out: a query comes with every request, as event['query']",
        )
    if "//" in path:
        raise Rejection("route-path", f"path {quoted(path)} has an empty segment", "write one slash")
    if _escape.search(path):
        raise Rejection(
            "route-path",
            f"path {quoted(path)} has a percent escape",
            "write the character itself: requests are compared after decoding",
        )
    path = path.rstrip("/") or "/"
    segments = path[1:].split("/")
    names: set[str] = set()
    for position, segment in enumerate(segments, start=1):
        name = _check_segment(segment, path, is_last=position == len(segments))
        if name is None:
            continue
        if name in names:
            raise Rejection(
                "route-path", f"path {quoted(path)} has two parameters called {quoted(name)}", "give each its own name"
            )
        names.add(name)
    return path


def _check_segment(segment: str, path: str, *, is_last: bool) -> str | None:
    """The name of a parameter, or None for a literal segment."""
    if segment in (".", ".."):
        raise Rejection("route-path", f"path {quoted(path)} has a segment {quoted(segment)}", "leave it out")
    foreign = _foreign_parameter.fullmatch(segment)
    if foreign is not None:
        meant = f":{foreign[1] or foreign[2] or foreign[3]}"
        raise Rejection("route-path", f"{quoted(segment)} is not a parameter here", f"did you mean {quoted(meant)}?")
    if not segment.startswith((":", "*")):
        if "*" in segment:
            raise Rejection(
                "route-path", f"path {quoted(path)} has a * inside a segment", "write a last segment such as *rest"
            )
        return None
    name = segment[1:]
    if not _parameter.fullmatch(name):
        example = ":id" if segment[0] == ":" else "*rest"
        raise Rejection(
            "route-path",
            f"{quoted(segment)} is not a parameter",
            f"write {segment[0]} and a name of letters, digits and _, as in {example}",
        )
    if segment[0] == "*" and not is_last:
        raise Rejection(
            "route-path",
            f"{quoted(segment)} stands before the end of path {quoted(path)}",
            "* takes all the rest: put it last",
        )
    return name


class RequestLine(NamedTuple):
    """A concrete request; `target` is its path with the query."""

    method: str
    target: str


def parse_request(text: str) -> RequestLine:
    """Method and target of `GET /users/1?page=2`; raises Rejection."""
    method, _, target = text.strip(" ").partition(" ")
    target = target.lstrip(" ")
    if method not in REQUEST_METHODS:
        raise Rejection(
            "check-request",
            f"{quoted(method)} is not a method of a request",
            f"write one of {', '.join(REQUEST_METHODS)} and a path, as in GET /users/1",
        )
    if not target.startswith("/"):
        raise Rejection(
            "check-request", f"path {quoted(target)} does not begin with /", f"did you mean {quoted('/' + target)}?"
        )
    if printable(target) != target or " " in target or "#" in target:
        raise Rejection(
            "check-request", f"path {quoted(target)} has a blank, # or control character", "write it as %20, %23, …"
        )
    return RequestLine(method, target)


def has_route(request: RequestLine, patterns: Iterable[RoutePattern]) -> bool:
    """Whether one of `patterns` takes `request`."""
    path = request.target.partition("?")[0].removesuffix("/")
    segments = tuple(unquote(segment) for segment in path.split("/")[1:])
    return any(pattern.matches(request.method, segments) for pattern in patterns)
