"""The JSON Schema over a manifest: types, keys, ranges and names, told in our words."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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

_SPOKEN_BOOLEANS = {"yes": "true", "on": "true", "no": "false", "off": "false", "y": "true", "n": "false"}
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
    """Whether a pattern stands in the schema for editors alone, and who reads the text says better what is wrong."""
    if violation.is_key:
        return violation.path == ("routes",)
    return violation.keyword == "pattern" and violation.path[-1] in ("handler", "request")


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
    node = reading.marks.node(violation.path)
    if not isinstance(node, Scalar):
        return ""
    types = violation.schema.get("type", ())
    types = [types] if isinstance(types, str) else types
    choices = violation.schema.get("enum", ())
    takes_boolean = "boolean" in types or True in choices
    if node.value is None:
        return (
            "write {} or leave it out" if violation.schema.get("default") == {} else "give it a value or leave it out"
        )
    if takes_boolean and node.text.lower() in _SPOKEN_BOOLEANS:
        return f"did you mean {_SPOKEN_BOOLEANS[node.text.lower()]}?"
    if takes_boolean and not node.plain and node.text.lower() in ("true", "false"):
        return f"write {node.text.lower()} without quotes"
    if violation.keyword == "enum":
        return reading.suggest.hint(node.text, [choice for choice in choices if isinstance(choice, str)])
    if not isinstance(node.value, str):
        if violation.schema.get("format") == "clowdy-memory":
            return f"did you mean {quoted(node.text + 'MB')}?"
        return f"put it in quotes: {quoted(node.text)}" if "string" in types and violation.keyword == "type" else ""
    if violation.schema.get("format") == "clowdy-timeout" and node.text.isdecimal():
        return f"did you mean {printable(node.text, 20)} without quotes?"
    if not node.plain and violation.keyword == "type" and {"number", "integer"} & set(types) and "string" not in types:
        return "write the number without quotes"
    return ""
