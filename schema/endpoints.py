"""The routes and checks of a manifest, from checked values to `RouteSpec` and `CheckSpec`."""

from __future__ import annotations

from typing import Any

from clowdy.schema.manifest import Auth, CheckSpec, RouteSpec
from clowdy.schema.marks import Path, Repetition
from clowdy.schema.nodes import Mapping, Scalar
from clowdy.schema.reading import Reading
from clowdy.schema.rejection import Rejection
from clowdy.schema.routes import RoutePattern, has_route, parse_request, parse_route
from clowdy.schema.text import printable

_NAMES_SHOWN = 8


def read_routes(reading: Reading, repetitions: list[Repetition]) -> tuple[list[RouteSpec], list[RoutePattern]]:
    """Every usable route, and the pattern of every one that can be read, in the order of the file.

    `repetitions` are the keys that stand a second time in `routes`.
    """
    routes: list[RouteSpec] = []
    patterns: list[RoutePattern] = []
    first_of_shape: dict[tuple[str, ...], tuple[RoutePattern, int]] = {}
    entries = reading.data.get("routes")
    for text, target in entries.items() if isinstance(entries, dict) else ():
        path: Path = ("routes", text)
        function = _function(reading, path, target)
        try:
            pattern = parse_route(text, reading.suggest)
        except Rejection as rejection:
            reading.add(reading.marks.problem(path, rejection.code, rejection.message, rejection.hint, key=True))
            continue
        patterns.append(pattern)
        line, _ = reading.marks.position(path, key=True)
        first, first_line = first_of_shape.setdefault(pattern.shape, (pattern, line))
        if first is not pattern:
            reading.note(path, "route-duplicate", *_twice(pattern, first, first_line), key=True)
        elif function is not None:
            routes.append(RouteSpec(pattern.method, pattern.path, function, _auth(reading, path, target)))
    for repetition in repetitions:
        _repeated(reading, repetition)
    return routes, patterns


def _twice(pattern: RoutePattern, first: RoutePattern, first_line: int) -> tuple[str, str]:
    message = f"{printable(str(pattern), 200)} is defined twice"
    if pattern != first:
        message += f": it is the same route as {printable(str(first), 200)}"
    return message, f"the first is at line {first_line}: remove one of them"


def _repeated(reading: Reading, repetition: Repetition) -> None:
    line = reading.marks.key_line(repetition.first)
    try:
        pattern = parse_route(repetition.entry.key.text, reading.suggest)
    except Rejection as rejection:
        reading.add(reading.marks.key_problem(repetition.entry, rejection.code, rejection.message, rejection.hint))
    else:
        reading.add(reading.marks.key_problem(repetition.entry, "route-duplicate", *_twice(pattern, pattern, line)))
        value = repetition.entry.value
        if isinstance(value, Mapping) and "function" in value.entries:
            value = value.entries["function"].value
        functions = reading.data.get("functions")
        if isinstance(value, Scalar) and isinstance(functions, dict) and value.text not in functions:
            reading.add(reading.marks.value_problem(value, *_unknown(reading, value.text, functions)))


def _unknown(reading: Reading, name: str, functions: dict[str, Any]) -> tuple[str, str, str]:
    shown = ", ".join(printable(known, 60) for known in list(functions)[:_NAMES_SHOWN])
    more = ", …" if len(functions) > _NAMES_SHOWN else ""
    hint = reading.suggest.hint(name, functions) or f"the functions are: {shown}{more}"
    return "route-function", f"{printable(name, 60)} is not a function of this file", hint


def _function(reading: Reading, path: Path, target: Any) -> str | None:
    """The name of a defined function, or None where that is a problem."""
    place = (*path, "function") if isinstance(target, dict) else path
    name = target.get("function") if isinstance(target, dict) else target
    if not isinstance(name, str) or not reading.is_sound(place):
        return None
    functions = reading.data.get("functions")
    if not isinstance(functions, dict) or name in functions:
        return name
    reading.note(place, *_unknown(reading, name, functions))
    return None


def _auth(reading: Reading, path: Path, target: Any) -> Auth:
    if not isinstance(target, dict) or not reading.is_sound((*path, "auth")):
        return Auth.NONE
    return Auth(target.get("auth", Auth.NONE))


def read_checks(reading: Reading, patterns: list[RoutePattern]) -> tuple[CheckSpec, ...]:
    """Every usable check; one whose request no route takes is a problem, unless a route could not be read."""
    checks: list[CheckSpec] = []
    entries = reading.data.get("checks")
    routes = reading.data.get("routes", {})
    are_all_read = isinstance(routes, dict) and len(patterns) == len(routes)
    for index, item in enumerate(entries if isinstance(entries, list) else ()):
        path: Path = ("checks", index)
        place = (*path, "request")
        if not isinstance(item, dict) or not isinstance(item.get("request"), str) or not reading.is_sound(place):
            continue
        try:
            request = parse_request(item["request"])
        except Rejection as rejection:
            reading.reject(place, rejection)
            continue
        if are_all_read and not has_route(request, patterns):
            shown = printable(f"{request.method} {request.target}", 200)
            reading.note(place, "check-route", f"no route takes {shown}", "add a route, or correct the request")
        line, column = reading.marks.position(place)
        checks.append(
            CheckSpec(
                method=request.method,
                path=request.target,
                status=int(item["status"]) if "status" in item and reading.is_sound((*path, "status")) else 200,
                json=item.get("json"),
                has_json="json" in item,
                line=line,
                column=column,
            )
        )
    return tuple(checks)
