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


HASHED = """\
--index-url https://index.example/simple
anyio==4.4.0 ; python_version >= "3.8" \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via httpx
httpx==0.27.0 --hash=sha256:cc
./local \\
    --hash sha256:dd  # ours
idna==3 \\
certifi==1
"""


def test_the_hashes_of_a_file_are_one_problem_at_the_first_of_them() -> None:
    problems = requirement_problems(HASHED, "requirements.txt")
    assert [(p.line, p.column, p.message) for p in problems] == [
        (1, 1, 'options are not allowed: "--index-url"'),
        (3, 5, "a requirements.txt with hashes cannot be taken"),
        (7, 1, 'paths are not allowed: "./local"'),
        (9, 1, "a line cannot be continued with a backslash"),
    ]
    assert "name the uv.lock instead, or make a pylock.toml" in problems[1].hint
    assert (problems[1].code, problems[1].source) == ("requirements", "    --hash=sha256:aa \\")


def test_hashes_do_not_count_as_requirements() -> None:
    (problem,) = requirement_problems("a==1 \\\n" + "--hash=sha256:aa \\\n" * 3000, "requirements.txt")
    assert (problem.line, problem.message) == (2, "a requirements.txt with hashes cannot be taken")
    (required,) = requirement_problems("--require-hashes\na==1\n", "requirements.txt")
    assert (required.line, required.message) == (1, problem.message)


@pytest.mark.parametrize(
    ("line", "option", "hint"),
    [
        ("--index-url=https://index.example", "--index-url", "leave it out: the server's settings"),
        ("--extra-index-url https://index.example", "--extra-index-url", "leave it out: the server's settings"),
        ("-ihttps://index.example", "-i", "leave it out: the server's settings"),
        ("-f ./wheels", "-f", "leave it out: the server's settings"),
        ("--trusted-host index.example", "--trusted-host", "leave it out: the server's settings"),
        ("--no-index", "--no-index", "leave it out: the server's settings"),
        ("-rbase.txt", "-r", "write its lines here"),
        ("--constraint=versions.txt", "--constraint", "write the versions at the names"),
        ("--pre", "--pre", "write one package a line"),
    ],
)
def test_an_option_is_refused_with_what_to_do_instead(line: str, option: str, hint: str) -> None:
    with pytest.raises(Rejection) as caught:
        check_requirement(line)
    assert caught.value.message == f'options are not allowed: "{option}"'
    assert caught.value.hint.startswith(hint)


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
