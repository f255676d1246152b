"""The pre-receive hook as a process of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from clowdy.server.git.hook_files import write_hooks

from .talk import Pipes, run_hook

LINES = b"".join(b"0" * 40 + b" " + b"ab" * 20 + b" refs/heads/%s\n" % name for name in (b"main", b"a\\b \xff$(x)`*"))


def answering(said: bytes) -> Callable[[Pipes], None]:
    def answer(pipes: Pipes) -> None:
        pipes.until(b"\n\n")
        os.write(pipes.answer, said)

    return answer


def test_it_reports_the_push_and_ends_as_the_server_says(tmp_path: Path) -> None:
    heard: list[bytes] = []

    def answer(pipes: Pipes) -> None:
        heard.append(pipes.until(b"\n\n"))
        os.write(pipes.answer, b"> line 1\n>   $(line) \\n %s 2\naccepted\n")

    done = run_hook(tmp_path, "pre-receive", LINES, answer, {"GIT_OBJECT_DIRECTORY": "/o;x `y` -n"})
    assert done.returncode == 0
    assert done.stderr == b"line 1\n  $(line) \\n %s 2\n"
    assert done.stdout == b""
    assert heard == [b"pre-receive\nformat text\nobjects /o;x `y` -n\n" + LINES + b"\n"]


@pytest.mark.parametrize("said", [b"refused\n", b"", b"accepted", b"> fine\n", b"accepted \n", b"0\n", b"\n" * 5])
def test_anything_but_a_whole_yes_refuses(tmp_path: Path, said: bytes) -> None:
    assert run_hook(tmp_path, "pre-receive", LINES, answering(said)).returncode == 1


def test_a_server_that_is_gone_refuses(tmp_path: Path) -> None:
    assert run_hook(tmp_path, "pre-receive", LINES * 2000, lambda pipes: None).returncode != 0


def test_without_its_pipes_it_refuses(tmp_path: Path) -> None:
    write_hooks(tmp_path)
    for environment in ({}, dict.fromkeys(("CLOWDY_TO_SERVER", "CLOWDY_TO_HOOK"), "/proc/self/fd/99")):
        done = subprocess.run(
            [tmp_path / "pre-receive"], input=LINES, env=environment, capture_output=True, timeout=20, check=False
        )
        assert done.returncode != 0
