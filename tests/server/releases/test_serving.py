from __future__ import annotations

from dataclasses import replace

import pytest

from clowdy.schema.manifest import FunctionSpec
from clowdy.schema.release import FunctionVersion, ReleaseRecord
from clowdy.server.releases.load import unreadable
from clowdy.server.releases.serving import build_application, fingerprint
from clowdy.server.serve.table import ProjectTable
from clowdy.server.store.projects import Project
from tests.runtimes.memory_driver import NoCode

PROJECT = Project("0" * 12, "shop", "Shop", "", "ana", None, (), 1.0)
SPEC = FunctionSpec("hello", "hello.py", env={"STAGE": "prod"}, secrets=frozenset({"KEY"}))
VERSION = FunctionVersion("f" * 12, "hello", 3, "d" * 64)


def test_an_application_has_its_environment_and_a_key_that_says_nothing_of_secrets() -> None:
    made = build_application(PROJECT, SPEC, VERSION, NoCode(), {"KEY": "swordfish", "OTHER": "no"})
    assert dict(made.env) == {
        "STAGE": "prod",
        "KEY": "swordfish",
        "CLOWDY_PROJECT": "shop",
        "CLOWDY_FUNCTION": "hello",
        "CLOWDY_VERSION": "3",
    }
    assert "swordfish" not in made.key
    assert "swordfish" not in repr(made)


def test_the_key_changes_with_a_secret_a_name_and_a_version_alone() -> None:
    code = NoCode()
    made = build_application(PROJECT, SPEC, VERSION, code, {"KEY": "one"})
    assert build_application(PROJECT, SPEC, VERSION, code, {"KEY": "one", "OTHER": "x"}).key == made.key
    assert build_application(PROJECT, SPEC, VERSION, code, {"KEY": "two"}).key != made.key
    assert build_application(replace(PROJECT, name="store"), SPEC, VERSION, code, {"KEY": "one"}).key != made.key
    assert build_application(PROJECT, SPEC, replace(VERSION, digest="e" * 64), code, {"KEY": "one"}).key != made.key


def test_a_secret_without_a_value_is_named() -> None:
    with pytest.raises(KeyError, match="KEY"):
        build_application(PROJECT, SPEC, VERSION, NoCode(), {})


def test_names_and_values_cannot_be_taken_for_each_other() -> None:
    assert fingerprint({"A": "1", "B": "2"}) != fingerprint({"A": "2", "B": "1"})
    assert fingerprint({"A": "1"}) != fingerprint({"A1": ""})
    assert fingerprint({}) == fingerprint({})


def test_a_release_that_cannot_be_read_answers_on_every_path_that_it_cannot_start() -> None:
    record = ReleaseRecord(4, "c" * 40, {"hello": VERSION}, 3, "ana", "push", 1)
    serving = unreadable(PROJECT, record, "t" * 40, "cannot be read")
    table = ProjectTable.of(PROJECT.id, "shop", record, serving.manifest, serving.applications, serving.problems)
    assert table.routes is not None
    target = table.functions["hello"]
    assert (target.application, target.problem, target.function_id) == (None, "cannot be read", "f" * 12)
