"""Requirement lines name packages and make no installer act."""

from __future__ import annotations

import pytest

from clowdy.schema.rejection import Rejection
from clowdy.schema.requirements import check_requirement, requirement_lines, requirement_problems


@pytest.mark.parametrize(
    "line",
    [
        "httpx", "httpx>=0.28", "httpx[http2]==0.28.*", "pydantic (>=2,<3)", "uvloop; sys_platform != 'win32'",
        "aa==18446744073709551614", "aa===1.0+local", "aa==1+20250101123456789012345678",
        "aa; platform_version == '()==='", "a.b_c-d ~= 1.4.2 ; python_version < '3.12' and extra == 'x'",
    ],
)  # fmt: skip
def test_what_pep_508_allows(line: str) -> None:
    assert check_requirement(f" {line} ") == line


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-e .", "editable"),
        ("--editable=git+https://x/y", "editable"),
        ("-r /etc/passwd", 'options are not allowed: "-r"'),
        ("--index-url https://evil.example", "options"),
        ("--no-binary=:all:", '"--no-binary"'),
        ("httpx==1 --hash=sha256:aa", "--hash"),
        ("httpx @ https://evil.example/x.whl", "URLs"),
        ("httpx@file:///etc/passwd", "URLs"),
        ("git+ssh://x/y", "URLs"),
        ("https://evil.example/x.whl", "URLs"),
        ("file:./x", "URLs"),
        ("./local", "paths"),
        ("../local", "paths"),
        ("/abs", "paths"),
        ("~/x", "paths"),
        ("a\\b", "paths"),
        ("x.whl", "paths"),
        ("x.tar.gz", "paths"),
        ("httpx==${VERSION}", "variables"),
        ("httpx=>1", "not a requirement"),
        ("???", "not a requirement"),
        ("", "not a requirement"),
        ("httpx\u202e", "not a requirement"),
        ("p; " + "(" * 900, "not a requirement"),
        ("p" * 1001, "not a requirement"),
        ("httpx==" + "9" * 900 + "x!", "not a requirement"),
        ("bb_", '"bb_" must end with a letter or digit'),
        ("bb.", "not a requirement"),
        ("bb[x_]", '"x_" must end with a letter or digit'),
        ("aa==18446744073709551615", "a number of its version is too large"),
        ("aa>=1,<" + "9" * 26, "a number of its version is too large"),
        ("aa==" + "9" * 300 + "!1", "a number of its version is too large"),
        ("aa==1.post" + "9" * 26, "a number of its version is too large"),
        ("aa===1_0", '"1_0" is not a version'),
        ("aa===1.0.*", '"1.0.*" is not a version'),
        ("aa ( )", "no version stands in its parentheses"),
        ("aa; sys_platform === 'linux'", "=== is for versions"),
    ],
)
def test_what_an_installer_would_act_on(line: str, words: str) -> None:
    with pytest.raises(Rejection) as caught:
        check_requirement(line)
    assert words in caught.value.message


def test_lines_of_a_file_come_with_their_numbers() -> None:
    text = "# web\r\nhttpx>=0.28  # client\r\n\r\n  pydantic#not-a-comment\n"
    assert requirement_lines(text) == [(2, "httpx>=0.28"), (4, "pydantic#not-a-comment")]


def test_every_bad_line_of_a_file_is_placed() -> None:
    problems = requirement_problems("httpx\n  -e .   # here\nuvloop==1 \\\n???\n", "requirements.txt")
    assert [(p.file, p.line, p.column, p.code) for p in problems] == [
        ("requirements.txt", 2, 3, "requirements"),
        ("requirements.txt", 3, 1, "requirements"),
        ("requirements.txt", 4, 1, "requirements"),
    ]
    assert (problems[0].source, problems[0].length) == ("  -e .   # here", 4)
    assert "backslash" in problems[1].message


def test_a_line_with_escapes_or_no_end_is_shown_safely() -> None:
    (problem,) = requirement_problems("\x1b[31m" + "x" * 100_000, "requirements.txt")
    assert "\x1b" not in problem.source + problem.message
    assert len(problem.source) <= 500
    (indented,) = requirement_problems(" " * 1000 + "???", "requirements.txt")
    assert (indented.column, indented.source.strip(), indented.length) == (1001, "???", 3)
    assert indented.source[indented.column - indented.skipped - 1 :] == "???"


def test_a_very_long_version_is_shown_in_short() -> None:
    (problem,) = requirement_problems("aa==" + "9" * 300, "requirements.txt")
    assert len(problem.message) < 200
