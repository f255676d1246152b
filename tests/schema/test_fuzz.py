"""No bytes make an exception or take long."""

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clowdy.schema.parse import parse_manifest
from clowdy.schema.requirements import requirement_problems
from clowdy.schema.shape import load_schema
from clowdy.schema.text import printable

QUICK = settings(max_examples=150, deadline=10_000, suppress_health_check=[HealthCheck.too_slow])

_schema = load_schema()
_words = st.sampled_from(
    [
        *_schema["properties"], *_schema["$defs"]["function"]["properties"], *_schema["$defs"]["check"]["properties"],
        "function", "auth", "secret", "origins", "hello", "GET /", "GET /:a", "ANY /*b", "verify", "rate", "* * * * *",
        "0 0 31 2 *", "256MB", "10s", "a.py:b", "..", "httpx>=1", "<<", "",
    ]
)  # fmt: skip
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    _words,
    st.dates(),
    st.binary(max_size=8),
)
_trees = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(_words, st.text(max_size=8)), inner, max_size=5)
    ),
    max_leaves=30,
)
_manifests = st.fixed_dictionaries(
    {"functions": st.dictionaries(_words, _trees, max_size=4)},
    optional={name: _trees for name in _schema["properties"] if name != "functions"},
)


def check(content: bytes) -> None:
    parsed = parse_manifest(content, project="shop")
    assert parsed.problems or parsed.manifest is not None
    lines = content.count(b"\n") + content.count(b"\r") + 2
    for problem in parsed.problems:
        assert 1 <= problem.line <= lines
        assert problem.column >= 1
        assert problem.length >= 1
        assert problem.message == printable(problem.message)
        assert problem.hint == printable(problem.hint)
        f"{problem.source}{problem.message}{problem.hint}".encode()
        if problem.source:
            assert problem.column - 1 + problem.length <= max(len(problem.source), problem.column)


@QUICK
@given(st.binary(max_size=400))
@example(b"\xff\xfe")
@example(b"a: !!python/object/apply:os.system ['id']")
@example(b"functions: {a: {}}\n\xc2\x85b: c")
def test_any_bytes(content: bytes) -> None:
    check(content)


@QUICK
@given(st.text(alphabet="{}[]:,-?&*!|>%@'\"# \n\tab1~<=.\\0", max_size=300))
def test_any_yaml_punctuation(text: str) -> None:
    check(text.encode())


@QUICK
@given(_trees)
def test_any_tree(tree: object) -> None:
    check(yaml.safe_dump(tree, allow_unicode=True).encode(errors="surrogatepass"))


@QUICK
@given(_manifests)
@example({"functions": {}, "routes": 1})
def test_anything_in_the_place_of_every_key(tree: object) -> None:
    check(yaml.safe_dump(tree, allow_unicode=True, sort_keys=False).encode(errors="surrogatepass"))


@QUICK
@given(st.text(max_size=300))
def test_any_requirements(text: str) -> None:
    for problem in requirement_problems(text, "requirements.txt"):
        assert problem.message == printable(problem.message)


@pytest.mark.slow
def test_the_worst_files_known_take_little_time() -> None:
    many = range(9_900)
    worst = [
        "functions: {a: {}}\nroutes:\n" + "".join(f"  GET /x{n}: b{n}\n" for n in many),
        "".join(f"name{n}: 1\n" for n in many),
        "{" + ", ".join(f"name{n}: 1" for n in many) + "}",
        "functions:\n"
        + "".join(f"  f{n}: {{env: {{A: b}}}}\n" for n in range(1000))
        + "env:\n"
        + "".join(f"  V{n}: x\n" for n in range(1000)),
        "functions: {a: {source: [" + ",".join(["a", "1"] * 4000) + "]}}",
    ]
    started = time.process_time()
    for text in worst:
        parse_manifest(text.encode())
    assert time.process_time() - started < 10
