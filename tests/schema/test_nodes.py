"""YAML becomes a tree within limits that no file can break."""

from __future__ import annotations

import time
from typing import Any

import pytest

from clowdy.schema.nodes import DEPTH_LIMIT, NODE_LIMIT, Mapping, Scalar, read_nodes
from clowdy.schema.source import Source


def read(text: str) -> tuple[Any, list[str]]:
    root, problems = read_nodes(Source("f", text))
    return root, [problem.code for problem in problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-7", -7), ("+7", 7), ("007", 7), ("0x1F", 31), ("0o17", 15), ("1.5", 1.5), (".5", 0.5),
        ("1e3", 1000.0), ("true", True), ("FALSE", False), ("null", None), ("~", None), ("", None),
        ("yes", "yes"), ("on", "on"), ("1:30", "1:30"), ("2026-01-01", "2026-01-01"), ("1_000", "1_000"),
        ("0b1", "0b1"), (".inf", ".inf"), (".nan", ".nan"), ("1e999", "1e999"), ("9" * 6000, "9" * 6000),
        ("١", "١"), ("0x", "0x"),
    ],
)  # fmt: skip
def test_plain_text_means_what_yaml_1_2_says(text: str, value: Any) -> None:
    found = Scalar(text, plain=True, start=0, end=0).value
    assert (found, type(found)) == (value, type(value))


def test_quoted_text_is_text() -> None:
    assert Scalar("1", plain=False, start=0, end=0).value == "1"


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "{[a]: ", "[{a: "])
def test_deep_nesting_ends_the_reading_and_not_the_process(opening: str) -> None:
    root, codes = read(opening * 40_000)
    assert root is None
    assert codes[-1] == "too-deep"


def test_the_depth_limit_itself_is_allowed() -> None:
    root, codes = read("[" * DEPTH_LIMIT + "]" * DEPTH_LIMIT)
    assert root is not None
    assert codes == []


def test_the_node_limit_is_exact() -> None:
    within = ",".join(["1"] * (NODE_LIMIT - 1))
    assert read(f"[{within}]")[1] == []
    assert read(f"[{within},1]")[1] == ["too-large"]


def test_aliases_count_and_are_never_followed() -> None:
    bomb = "a: &a [x]\n" + "".join(
        f"{key}: &{key} [{', '.join([f'*{chr(ord(key) - 1)}'] * 9)}]\n" for key in "bcdefghij"
    )
    root, codes = read(bomb)
    assert isinstance(root, Mapping)
    assert set(codes) == {"anchor"}
    assert len(codes) == 10 + 9 * 9


def test_many_directives_are_refused_before_the_parser_compares_them() -> None:
    text = "".join(f"%TAG !a{number}! b:\n" for number in range(15_000))
    started = time.process_time()
    _, (problem,) = read_nodes(Source("f", text))
    assert (problem.line, problem.message) == (9, "too many directives")
    assert time.process_time() - started < 1


def test_the_first_of_a_repeated_key_counts() -> None:
    root, _ = read("a: 1\na: 2\nb: 3\n")
    assert {name: entry.value.text for name, entry in root.entries.items()} == {"a": "1", "b": "3"}
    assert [entry.value.text for entry in root.repeated] == ["2"]


def test_keys_are_text_whatever_they_look_like() -> None:
    root, codes = read("1: a\nnull: b\ntrue: c\non: d\n~: e\n")
    assert (list(root.entries), codes) == (["1", "null", "true", "on", "~"], [])
