"""The proc-receive hook as a process of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from clowdy.server.git.hook_files import write_hooks
from clowdy.server.git.pkt import FLUSH, pkt

from .talk import Pipes, run_hook

GREETING = pkt(b"version=1\0push-options atomic\n") + FLUSH
COMMANDS = pkt(b"0" * 40 + b" " + b"ab" * 20 + b" refs/heads/main") + FLUSH
OPTIONS = pkt(b"plan") + pkt(b"a\nb\0\xff") + FLUSH


def test_it_hands_everything_over_and_gives_git_the_answer(tmp_path: Path) -> None:
    heard: list[bytes] = []

    def answer(pipes: Pipes) -> None:
        heard.append(pipes.until(OPTIONS))
        os.write(pipes.text, b"building\n")
        os.write(pipes.answer, GREETING + b"\0the report")

    done = run_hook(tmp_path, "proc-receive", GREETING + COMMANDS + OPTIONS, answer)
    assert done.returncode == 0
    assert done.stdout == GREETING + b"\0the report"
    assert done.stderr == b"building\n"
    assert heard == [b"proc-receive\n" + GREETING + COMMANDS + OPTIONS]


def test_text_comes_before_the_answer_and_streams(tmp_path: Path) -> None:
    def answer(pipes: Pipes) -> None:
        pipes.until(FLUSH)
        for number in range(3):
            os.write(pipes.text, b"%d\n" % number)
        os.write(pipes.answer, GREETING)

    done = run_hook(tmp_path, "proc-receive", GREETING, answer)
    assert (done.stdout, done.stderr) == (GREETING, b"0\n1\n2\n")


def test_a_server_that_is_gone_says_nothing_to_git(tmp_path: Path) -> None:
    done = run_hook(tmp_path, "proc-receive", GREETING + COMMANDS + OPTIONS, lambda pipes: None)
    assert done.stdout == b""


def test_without_its_pipes_it_says_nothing(tmp_path: Path) -> None:
    write_hooks(tmp_path)
    done = subprocess.run([tmp_path / "proc-receive"], input=GREETING, env={}, capture_output=True, check=False)
    assert done.returncode != 0
    assert done.stdout == b""
