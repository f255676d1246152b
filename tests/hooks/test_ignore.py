"""`.clowdyignore` says what `.gitignore` would say, and answers in time."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from clowdy.hooks.ignore import Ignore, IgnoreError


def leaves_out(patterns: str, path: str) -> bool:
    return Ignore.parse(patterns.encode()).matcher().leaves_out(path)


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        ("*.md", "README.md", True),
        ("*.md", "a/b/README.md", True),
        ("*.md", "README.mdx", False),
        ("/tests/", "tests/a.py", True),
        ("/tests/", "api/tests/a.py", False),
        ("tests/", "api/tests/a.py", True),
        ("tests/", "tests", False),
        ("a/b", "a/b/c.py", True),
        ("a/b", "x/a/b", False),
        ("a/*", "a/b/c.py", True),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("**/b", "a/x/b", True),
        ("a/**", "a", False),
        ("a/**", "a/x", True),
        ("*\n!keep.py", "keep.py", False),
        ("/a/\n!a/keep.py", "a/keep.py", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[a-c]x", "bx", True),
        ("[!a-c]x", "bx", False),
        ("[[:digit:]]", "7", True),
        ("[]]", "]", True),
        ("[", "[", False),
        ("\\#a", "#a", True),
        ("# a", "# a", False),
        ("a ", "a", True),
        ("a\\ ", "a ", True),
        ("a\r\nb", "a", True),
        ("\ufeffa", "a", True),
        ("a\\", "a", False),
        ("!", "!", False),
        ("/", "a", False),
        ("é?", "éa", True),
        ("?", "é", False),
    ],
)
def test_patterns_mean_what_git_says(patterns: str, path: str, expected: bool) -> None:
    assert leaves_out(patterns, path) is expected


def test_a_name_that_is_not_utf8_is_compared_by_its_bytes() -> None:
    assert leaves_out("*.py", "\udce9.py")
    assert Ignore.parse(b"\xe9.py").matcher().leaves_out("\udce9.py")


def test_random_patterns_agree_with_git(tmp_path: Path) -> None:
    """Real git is the judge; `x**/`, where git's manual and git itself disagree, is left out."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    chance = random.Random(7)
    pieces = [
        "a",
        "b",
        "ab",
        "*",
        "?",
        "/",
        "[ab]",
        "[!a]",
        "[a-c]",
        "\\*",
        "é",
        "!",
        " ",
        "[[:alpha:]]",
        "[",
        ".",
        "-",
    ]
    letters = ["a", "b", "c", "é", "*", "-", " ", "x", "[", "ab"]
    for _ in range(25):
        lines = [chance.choice(["", "**/", "/"]) + "".join(chance.choices(pieces, k=3)) for _ in range(3)]
        text = "\n".join(line.replace("**", "*") if line[:2] != "**" else line for line in lines) + "\n"
        paths = sorted(
            {"/".join("".join(chance.choices(letters, k=2)) for _ in range(chance.randint(1, 4))) for _ in range(60)}
        )
        (tmp_path / ".gitignore").write_text(text)
        git = subprocess.run(
            ["git", "-C", tmp_path, "check-ignore", "--no-index", "-z", "--stdin"],
            input="".join(f"{path}\0" for path in paths).encode(),
            capture_output=True,
            check=False,
        )
        assert git.returncode in (0, 1), git.stderr
        matcher = Ignore.parse(text.encode()).matcher()

        found = {path for path in paths if matcher.leaves_out(path)}

        assert found == {path for path in git.stdout.decode().split("\0") if path}, text


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 90 + "*b", "a" * 255),
        ("*" + "?" * 90 + "*" + "a" * 90 + "b", "a" * 255),
        ("**/a/" * 38 + "b", "a/" * 100 + "a"),
    ],
)
def test_no_pattern_takes_long(pattern: str, path: str) -> None:
    """A backtracking matcher needs longer than the universe has for the first of these."""
    started = time.process_time()

    assert not leaves_out(pattern, path)
    assert time.process_time() - started < 1.0


def test_deep_paths_need_no_recursion() -> None:
    assert not leaves_out("*.md", "a/" * 20_000 + "b")


def test_too_many_or_too_long_patterns_are_refused_with_their_line() -> None:
    with pytest.raises(IgnoreError, match="more than 200 patterns") as too_many:
        Ignore.parse(b"# comment\n\n" + b"a\n" * 201)
    with pytest.raises(IgnoreError, match="at most 200 characters") as too_long:
        Ignore.parse(b"a\n" + b"b" * 201)
    with pytest.raises(IgnoreError, match="more than 64 KB"):
        Ignore.parse(b"#" * 70_000)

    assert (too_many.value.line, too_long.value.line) == (203, 2)
