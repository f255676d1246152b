"""The JSON Schema over a manifest: types, keys, ranges and names, told in our words."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, validators
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator

from clowdy.schema.marks import Path
from clowdy.schema.nodes import Scalar
from clowdy.schema.reading import Reading, label
from clowdy.schema.text import printable, quoted
from clowdy.schema.units import is_memory, is_timeout

_SPOKEN_BOOLEANS = {"yes": True, "on": True, "y": True, "no": False, "off": False, "n": False}
# Their patterns stand in the schema for editors alone: who reads the text says better what is wrong.
_READ_ELSEWHERE = ("handler", "request", "schedule", "function", "origins")
_COUNTS = ("maxProperties", "maxItems")


def schema_text() -> bytes:
    """The JSON Schema of clowdy.yaml as it is served."""
    return (resources.files("clowdy.schema") / "clowdy.schema.json").read_bytes()


@functools.cache
def load_schema() -> dict[str, Any]:
    """The JSON Schema of clowdy.yaml; not to be changed."""
    schema: dict[str, Any] = json.loads(schema_text())
    return schema


@functools.cache
def _validator() -> Validator:
    formats = FormatChecker(formats=())
    strict: type[Validator] = validators.extend(Draft202012Validator, {"pattern": _check_pattern})  # type: ignore[no-untyped-call]
    formats.checks("clowdy-timeout")(lambda value: not isinstance(value, str) or is_timeout(value))
    formats.checks("clowdy-memory")(lambda value: not isinstance(value, str) or is_memory(value))
    return strict(load_schema(), format_checker=formats)


@dataclass(frozen=True, slots=True)
class _Violation:
    """What `keyword: wanted` of `schema` has against `instance`, which stands at `path` or is a key there."""

    path: Path
    is_key: bool
    keyword: str
    wanted: Any
    schema: Mapping[str, Any]
    instance: Any


def _violations(data: Any) -> Iterator[_Violation]:
    for error in _validator().iter_errors(data):
        yield _Violation(
            path=tuple(error.absolute_path),
            is_key="propertyNames" in error.absolute_schema_path,
            keyword=str(error.validator),
            wanted=error.validator_value,
            schema=error.schema if isinstance(error.schema, Mapping) else {},
            instance=error.instance,
        )


def _check_pattern(_: Validator, pattern: str, instance: object, __: object) -> Iterator[ValidationError]:
    # Python's $ also matches before a last newline, JSON Schema's does not.
    if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance):
        yield ValidationError("does not match")


def check_shape(reading: Reading) -> None:
    """Adds to `reading` whatever the schema does not allow."""
    missing: list[_Violation] = []
    for violation in _violations(reading.data):
        if not reading.is_sound(violation.path) or _is_told_elsewhere(violation):
            continue
        if violation.is_key:
            _bad_name(reading, violation)
        elif violation.keyword == "additionalProperties":
            _unknown_keys(reading, violation)
        elif violation.keyword == "required":
            missing.append(violation)
        elif violation.keyword in _COUNTS:
            name, count = label(violation.path), len(violation.instance)
            message = f"{name} has {count:,} entries, at most {violation.wanted:,} are allowed"
            reading.refuse(violation.path, "too-large", message, key=True)
        else:
            _bad_value(reading, violation)
    # A key that is there under a misspelt name is not missing as well, so these come last.
    for violation in missing:
        _missing_keys(reading, violation)


def _is_told_elsewhere(violation: _Violation) -> bool:
    """Whether a pattern is one for editors alone."""
    path = violation.path
    if violation.is_key:
        return path == ("routes",)
    if violation.keyword != "pattern":
        return False
    key = path[-2] if isinstance(path[-1], int) else path[-1]
    return path[:-1] == ("routes",) or key in _READ_ELSEWHERE


def _bad_name(reading: Reading, violation: _Violation) -> None:
    name = str(violation.instance)
    reading.refuse((*violation.path, name), "bad-name", f"{quoted(name)} {violation.schema['errorMessage']}", key=True)


def _unknown_keys(reading: Reading, violation: _Violation) -> None:
    known = violation.schema["properties"]
    for name in violation.instance:
        path = (*violation.path, name)
        if name in known or not reading.is_sound(path):
            continue
        where = f" in {label(violation.path)}" if violation.path else ""
        hint = _elsewhere(name, violation.path) or reading.suggest.hint(name, known)
        hint = hint or f"known here: {', '.join(known)}"
        reading.refuse(path, "unknown-key", f"unknown key {quoted(name)}{where}", hint, key=True)


def _elsewhere(name: str, path: Path) -> str:
    """Where a key belongs that stands at the top instead of in a function, or the other way round."""
    schema = load_schema()
    if not path and name in schema["$defs"]["function"]["properties"]:
        return f"{name} belongs into a function: functions: {{NAME: {{{name}: …}}}}"
    if path[:1] == ("functions",) and name in schema["properties"]:
        return f"{name} belongs to the top of the file"
    return ""


def _missing_keys(reading: Reading, violation: _Violation) -> None:
    path, known = violation.path, violation.schema["properties"]
    misspelt = {reading.suggest.nearest(name, known) for name in violation.instance if name not in known}
    for name in violation.wanted:
        if name in violation.instance or name in misspelt or not reading.is_sound(path):
            continue
        if name == "secret":
            _bad_value(reading, violation)
        else:
            example = json.dumps(known[name]["examples"][0]).replace('"', "")
            reading.note(path, "missing-key", f"{label(path)} has no {name}", f"write {name}: {example}", key=True)


def _bad_value(reading: Reading, violation: _Violation) -> None:
    path = violation.path
    expected = violation.schema.get("errorMessage", "is not allowed here")
    code = "wrong-type" if violation.keyword == "type" else "bad-value"
    reading.refuse(path, code, f"{label(path)} {expected}, not {reading.found(path)}", _hint(reading, violation))


def _hint(reading: Reading, violation: _Violation) -> str:
    """What to write, where it is certain that the schema takes it."""
    node = reading.marks.node(violation.path)
    if not isinstance(node, Scalar):
        return ""
    schema, text = violation.schema, node.text
    if node.value is None:
        if schema.get("default") == {}:
            return "write {} or leave it out"
        return "give it a value" if violation.path[-1] in _required_keys() else "give it a value or leave it out"
    spoken = _SPOKEN_BOOLEANS.get(text.lower())
    if spoken is not None and _takes(schema, spoken):
        return f"did you mean {json.dumps(spoken)}?"
    unquoted = replace(node, plain=True).value
    if not node.plain and not isinstance(unquoted, str) and _takes(schema, unquoted):
        return f"write {printable(text, 20)} without quotes"
    if violation.keyword == "enum":
        return reading.suggest.hint(text, [choice for choice in violation.wanted if isinstance(choice, str)])
    if isinstance(node.value, str):
        return ""
    if schema.get("format") == "clowdy-memory" and _takes(schema, f"{text}MB"):
        return f"did you mean {quoted(f'{text}MB')}?"
    return f"put it in quotes: {quoted(text)}" if _takes(schema, text) else ""


def _takes(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether a value that is no list and no mapping fits one part of the schema."""
    return _validator().evolve(schema=schema).is_valid(value)


@functools.cache
def _required_keys() -> frozenset[str]:
    """Every key that must be there in the mapping that knows it."""
    found: set[str] = set()
    waiting: list[Any] = [load_schema()]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            found.update(part["required"] if isinstance(part.get("required"), list) else ())
            waiting += part.values()
    return frozenset(found)
