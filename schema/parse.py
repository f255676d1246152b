"""clowdy.yaml: bytes in, a manifest or every problem out."""

from __future__ import annotations

from dataclasses import dataclass

from clowdy.schema.endpoints import read_checks, read_routes
from clowdy.schema.functions import read_function
from clowdy.schema.manifest import Auth, Manifest
from clowdy.schema.marks import Marks, Repetition
from clowdy.schema.nodes import Mapping, Scalar, Sequence, read_nodes
from clowdy.schema.origins import check_origin
from clowdy.schema.paths import check_path
from clowdy.schema.problems import Problem
from clowdy.schema.reading import Reading, label
from clowdy.schema.rejection import Rejection
from clowdy.schema.requirements import check_requirement
from clowdy.schema.shape import check_shape
from clowdy.schema.source import read_source
from clowdy.schema.text import printable, quoted
from clowdy.schema.unavailable import WORDS, find_unavailable
from clowdy.schema.variables import read_variables

FILE = "clowdy.yaml"
ANY_ORIGIN = "*"
SMALLEST = "write at least: functions: {hello: {}}"


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a clowdy.yaml came to.

    `manifest` is given whenever functions could be made at all, also with problems elsewhere, so that later checks
    can add theirs; with `problems` it must never be deployed. `marks` places what later checks find.
    """

    manifest: Manifest | None
    problems: tuple[Problem, ...]
    marks: Marks


def parse_manifest(text: bytes, *, file: str = FILE, project: str | None = None) -> Parsed:
    """The manifest in `text` and every problem that the text alone has, in the order of the file.

    `project` is the name of the project that it is for; a `name` in the file must be the same.
    """
    source, unreadable = read_source(text, file)
    if unreadable:
        return Parsed(None, unreadable, Marks(source, None))
    root, problems = read_nodes(source)
    marks = Marks(source, root)
    if root is None and not problems:
        problems.append(source.whole("empty", f"{file} is empty", SMALLEST))
    if isinstance(root, Scalar | Sequence):
        is_nothing = isinstance(root, Scalar) and root.plain and root.value is None
        found = "empty" if is_nothing else f"not a mapping but {'a list' if isinstance(root, Sequence) else 'one text'}"
        problems.append(source.whole("empty" if is_nothing else "wrong-type", f"{file} is {found}", SMALLEST))
    if not isinstance(root, Mapping):
        return Parsed(None, tuple(sorted(problems)), marks)
    data, repetitions, refused = marks.data()
    reading = Reading(marks, data, problems, refused)
    manifest = _read(reading, repetitions, project)
    return Parsed(manifest, reading.problems, marks)


def _read(reading: Reading, repetitions: list[Repetition], project: str | None) -> Manifest | None:
    for repetition in repetitions:
        if repetition.path != ("routes",):
            _refuse_repeated(reading, repetition)
    _refuse_unavailable(reading)
    check_shape(reading)
    data = reading.data
    _check_name(reading, project)
    variables = read_variables(reading, ("env",))
    routes, patterns = read_routes(reading, [one for one in repetitions if one.path == ("routes",)])
    private = {route.function for route in routes if route.auth is not Auth.NONE}
    functions = {}
    if isinstance(data.get("functions"), dict) and reading.is_sound(("functions",)):
        for name in data["functions"]:
            function = read_function(reading, name, variables, private)
            if function is not None:
                functions[name] = function
    requirements, requirements_file = _requirements(reading)
    checks = read_checks(reading, patterns)
    if not functions:
        return None
    return Manifest(
        functions=functions,
        routes=tuple(route for route in routes if route.function in functions),
        name=_text(reading, "name"),
        description=_text(reading, "description") or "",
        cors=_cors(reading),
        env=variables.values,
        secrets=variables.secrets,
        requirements=requirements,
        requirements_file=requirements_file,
        database=_text(reading, "database"),
        checks=checks,
    )


def _refuse_repeated(reading: Reading, repetition: Repetition) -> None:
    line = reading.marks.key_line(repetition.first)
    message = f"duplicate key {quoted(repetition.entry.key.text)}"
    hint = f"the first is at line {line}: remove one of them"
    reading.add(reading.marks.key_problem(repetition.entry, "duplicate-key", message, hint))


def _refuse_unavailable(reading: Reading) -> None:
    for path, row in find_unavailable(reading.data):
        shown = label(path) if row.whole else f"{label(path)}: {reading.found(path)}".replace('"', "")
        reading.note(path, "not-available", f"{shown} is {WORDS}", "leave it out", key=row.whole)
        if row.kept:
            reading.settle(path)


def _check_name(reading: Reading, project: str | None) -> None:
    name = _text(reading, "name")
    if name is not None and project is not None and name != project:
        reading.note(
            ("name",), "name-mismatch", f"name is {name}, but this project is {printable(project, 60)}",
            f"write name: {printable(project, 60)}, or leave it out",
        )  # fmt: skip


def _text(reading: Reading, key: str) -> str | None:
    value = reading.data.get(key)
    return value if isinstance(value, str) and reading.is_sound((key,)) else None


def _cors(reading: Reading) -> tuple[str, ...]:
    cors = reading.data.get("cors")
    origins = cors.get("origins") if isinstance(cors, dict) else cors
    path = ("cors", "origins")
    if not reading.is_sound(path):
        return ()
    if origins is True:
        return (ANY_ORIGIN,)
    allowed: list[str] = []
    for index, text in enumerate(origins) if isinstance(origins, list) else ():
        try:
            if isinstance(text, str) and reading.is_sound((*path, index)):
                allowed.append(check_origin(text))
        except Rejection as rejection:
            reading.reject((*path, index), rejection)
    return tuple(allowed)


def _requirements(reading: Reading) -> tuple[tuple[str, ...], str | None]:
    """Requirements that stand in the file itself, or the path of the file that has them."""
    found = reading.data.get("requirements")
    path = ("requirements",)
    if not found or not reading.is_sound(path):
        return (), None
    if isinstance(found, str):
        try:
            return (), check_path(found, "requirements")
        except Rejection as rejection:
            reading.reject(path, rejection)
            return (), None
    requirements = []
    for index, text in enumerate(found):
        try:
            if isinstance(text, str) and reading.is_sound((*path, index)):
                requirements.append(check_requirement(text))
        except Rejection as rejection:
            reading.reject((*path, index), rejection)
    return tuple(requirements), None
