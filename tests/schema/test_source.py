"""Bytes become text with places, or the reason why not."""

from __future__ import annotations

import pytest

from clowdy.schema.source import SIZE_LIMIT_BYTES, Source, read_source

TEXT = "functions: {hello: {}}\n"


def test_places_and_lines_count_from_one_and_ends_belong_to_no_line() -> None:
    source = Source("f", "ab\r\nc\n\nd")
    assert [source.place(index) for index in (0, 1, 4, 6, 7)] == [(1, 1), (1, 2), (2, 1), (3, 1), (4, 1)]
    shown = [source.problem(index, index + 1, "x", "m").source for index in (0, 1, 4, 6, 7)]
    assert shown == ["ab", "ab", "c", " ", "d"]


def test_a_byte_order_mark_is_skipped() -> None:
    source, problems = read_source(b"\xef\xbb\xbf" + TEXT.encode(), "f")
    assert (source.text, problems) == (TEXT, ())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_other_encodings_are_refused_by_name(encoding: str) -> None:
    _, (problem,) = read_source(TEXT.encode(encoding), "clowdy.yaml")
    assert (problem.line, problem.column, problem.code, problem.source) == (1, 1, "encoding", "")
    assert "UTF-" in problem.message
    assert problem.hint == "save the file as UTF-8"


def test_a_byte_that_is_not_utf8_is_placed() -> None:
    _, (problem,) = read_source("é: x\nb: ".encode() + b"\xe9\n", "f")
    assert (problem.line, problem.column, problem.code) == (2, 4, "encoding")
    assert "0xe9" in problem.message


@pytest.mark.parametrize(
    "character", ["\0", "\x01", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\ufeff", "\ufffe", "\r"]
)
def test_characters_that_could_hide_something_are_placed(character: str) -> None:
    _, (problem,) = read_source(f"a: b\nc: d # {character}e: f\n".encode(), "f")
    assert (problem.line, problem.column, problem.code) == (2, 8, "encoding")
    assert character not in problem.message + problem.source


def test_many_control_characters_are_not_all_listed() -> None:
    _, problems = read_source(b"a" + b"\x01" * 1000, "f")
    assert len(problems) == 20


@pytest.mark.parametrize("column", [1, 250, 251, 252, 499, 500, 501, 1001, 9_990, 10_001])
def test_a_long_line_is_shown_around_any_column(column: int) -> None:
    line = "".join(chr(ord("a") + number % 26) for number in range(10_000))
    problem = Source("f", f"first\n{line}\nlast\n").problem(5 + column, 15 + column, "x", "m")
    assert (problem.line, problem.column, len(problem.source) <= 500) == (2, column, True)
    assert line[problem.skipped :].startswith(problem.source)
    marked = problem.source[column - 1 - problem.skipped :][: problem.length]
    assert marked == line[column - 1 :][:10]


def test_the_limit_is_256_kb_exactly() -> None:
    assert read_source(b"#" * SIZE_LIMIT_BYTES, "f")[1] == ()
    _, (problem,) = read_source(b"#" * (SIZE_LIMIT_BYTES + 1), "f")
    assert (problem.line, problem.column, problem.code) == (1, 1, "file-size")
    assert "262,145 bytes" in problem.message
