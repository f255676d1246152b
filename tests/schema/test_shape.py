"""The JSON Schema is the manual: complete, true, and the same as the code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from clowdy.schema import names
from clowdy.schema.manifest import Auth, FunctionSpec, HandlerType
from clowdy.schema.parse import parse_manifest
from clowdy.schema.shape import load_schema, schema_text
from clowdy.schema.units import parse_size
from tests.schema.test_parse import MINIMAL, NOT_AVAILABLE

ABSENT_BY_DEFAULT = {"name", "database", "type", "json"}


def keys(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, described in schema.get("properties", {}).items():
        yield f"{path}{name}", described
        yield from keys(described, f"{path}{name}.")
    for name, definition in schema.get("$defs", {}).items():
        yield f"{name}", definition
        yield from keys(definition, f"{name}.")


KEYS = list(keys(load_schema()))


def test_it_is_a_schema_of_2020_12_with_an_id() -> None:
    schema = json.loads(schema_text())
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"]


@pytest.mark.parametrize(("path", "described"), KEYS, ids=[path for path, _ in KEYS])
def test_every_key_has_a_title_a_description_a_default_and_examples(path: str, described: dict[str, Any]) -> None:
    assert {"title", "description", "default", "examples"} <= described.keys()
    validator = Draft202012Validator({**load_schema(), **described} if "$ref" in described else described)
    validator = Draft202012Validator({"$defs": load_schema()["$defs"], **described})
    for example in described["examples"]:
        validator.validate(example)
    if path in ABSENT_BY_DEFAULT or path.rpartition(".")[2] in ABSENT_BY_DEFAULT:
        assert described["default"] is None
    else:
        validator.validate(described["default"])


def test_it_has_every_key_and_no_other() -> None:
    schema = load_schema()
    assert set(schema["properties"]) == {
        "name", "description", "functions", "routes", "cors", "env", "requirements", "database", "checks",
    }  # fmt: skip
    assert set(schema["$defs"]["function"]["properties"]) == {
        "description", "handler", "type", "source", "network", "timeout", "memory", "cpu", "concurrency", "parallel",
        "min_warm", "env", "schedule", "public",
    }  # fmt: skip
    assert set(schema["$defs"]["route"]["properties"]) == {"function", "auth"}
    assert set(schema["$defs"]["check"]["properties"]) == {"request", "status", "json"}


def test_names_choices_and_defaults_are_those_of_the_code() -> None:
    schema = load_schema()
    function = schema["$defs"]["function"]["properties"]
    assert schema["properties"]["name"]["pattern"] == f"^{names.PROJECT}$"
    assert schema["properties"]["functions"]["propertyNames"]["pattern"] == f"^{names.FUNCTION}$"
    assert function["type"]["enum"] == [kind.value for kind in HandlerType if kind is not HandlerType.AUTO]
    assert schema["$defs"]["route"]["properties"]["auth"]["enum"] == [auth.value for auth in Auth]
    default = FunctionSpec(name="", file="")
    assert function["timeout"]["default"] == default.timeout_seconds
    assert parse_size(function["memory"]["default"]) == default.memory_bytes
    for key in ("cpu", "concurrency", "parallel", "min_warm", "public"):
        assert function[key]["default"] == getattr(default, key)


def test_the_whole_example_has_no_problem() -> None:
    text = yaml.safe_dump(load_schema()["examples"][0], sort_keys=False)
    assert parse_manifest(text.encode()).problems == ()


def test_an_editor_with_the_schema_agrees_on_what_is_right() -> None:
    validator = Draft202012Validator(load_schema())
    validator.validate(yaml.safe_load(MINIMAL))
    validator.validate({"functions": {"a": {}}, "routes": {"GET /users/:id": "a", "post /x": {"function": "a"}}})
    for text, _, _ in NOT_AVAILABLE[13:]:
        validator.validate(yaml.safe_load(text))


def test_the_reference_page_is_what_the_schema_says() -> None:
    from tools import make_docs

    assert make_docs.TARGET.read_text(encoding="utf-8") == make_docs.page()
