"""What uv says is shown without colours, our paths and credentials."""

from __future__ import annotations

import pytest

from clowdy.runtimes.layers.words import Words

WORDS = Words(lambda text: text.replace("secret", "****"), {"/build/": "", "/build/wanted.txt": "the requirements"})


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("\x1b[2mResolved \x1b[1m2 packages\x1b[0m in 65ms\x1b[0m", "Resolved 2 packages in 65ms"),
        (" Downloaded numpy", "Downloaded numpy"),
        (" + numpy==2.4.6", "+ numpy==2.4.6"),
        ("warning: secret\x07 \x1b]0;title\x07text", "warning: ****\N{REPLACEMENT CHARACTER} text"),
        ("Using CPython 3.11.2 interpreter at: /usr/bin/python3", None),
        ("numpy==2.4.6 \\", None),
        ("    --hash=sha256:aa", None),
        ("", None),
    ],
)
def test_progress(line: str, shown: str | None) -> None:
    assert WORDS.progress(line) == shown


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "Resolved 1 package in 2ms\nerror: No solution found when resolving dependencies\n"
            "  cause: Because a was not found and you require a,\n         it is unsatisfiable.\n\nhint: try b",
            "No solution found when resolving dependencies: Because a was not found and you require a, "
            "it is unsatisfiable.; hint: try b",
        ),
        (
            "  \x1b[31m×\x1b[0m No solution found:\n  ├─▶ Because a==1\n  │   and a==2,\n  ╰─▶ no.",
            "No solution found: Because a==1 and a==2,: no.",
        ),
        ("error: Failed to fetch: `https://secret@x/`\n  Caused by: timed out",
         "Failed to fetch: `https://****@x/`: timed out"),
        ("error: at /build/wanted.txt: /build/cache/x", "at the requirements: cache/x"),
        ("thread 'main' panicked\nat x.rs:1", "thread 'main' panicked at x.rs:1"),
        ("Resolved 1 package\n", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_the_reason_is_one_line(text: str, reason: str) -> None:
    assert WORDS.reason(text.split("\n")) == reason


def test_a_reason_has_an_end() -> None:
    assert len(WORDS.reason(["error: " + "x" * 100_000])) == 2000
