"""The proc-receive hook as a process of its own."""

from __future__ import annotations

import socket
from pathlib import Path

from clowdy.server.git.pkt import FLUSH, pkt

from .talk import imports_of, part, run_hook

GREETING = pkt(b"version=1\0push-options atomic\n") + FLUSH
COMMANDS = pkt(b"0" * 40 + b" " + b"ab" * 20 + b" refs/heads/main") + FLUSH
OPTIONS = pkt(b"plan") + pkt(b"a\nb") + FLUSH


def test_it_agrees_hands_everything_over_and_gives_git_the_answer(tmp_path: Path) -> None:
    heard: list[object] = []

    def answer(kind: bytes, fields: list[bytes], connection: socket.socket) -> None:
        heard.extend([kind, fields])
        connection.sendall(part(b">", b"building\n") + part(b"=", b"the report"))

    done = run_hook(tmp_path, "proc-receive", GREETING + COMMANDS + OPTIONS, answer)
    assert done.returncode == 0
    assert done.stdout == GREETING + b"the report"
    assert done.stderr == b"building\n"
    assert heard == [b"c", [b"abc", str(tmp_path).encode(), GREETING + COMMANDS + OPTIONS]]


def test_without_push_options_it_waits_for_none(tmp_path: Path) -> None:
    greeting = pkt(b"version=1") + FLUSH
    done = run_hook(
        tmp_path, "proc-receive", greeting + COMMANDS, lambda kind, fields, server: server.sendall(part(b"=", b"x"))
    )
    assert (done.returncode, done.stdout) == (0, greeting + b"x")


def test_a_lost_server_or_git_gives_no_report(tmp_path: Path) -> None:
    for number, (data, answer) in enumerate(
        [
            (GREETING + COMMANDS + OPTIONS, None),
            (GREETING + COMMANDS + OPTIONS, lambda kind, fields, server: None),
            (GREETING + COMMANDS + OPTIONS, lambda kind, fields, server: server.sendall(part(b"=", b"half")[:-1])),
            (GREETING + COMMANDS, None),
            (GREETING[:-6], None),
            (b"", None),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = run_hook(folder, "proc-receive", data, answer)
        assert done.returncode == 1
        assert done.stdout in (b"", GREETING)


def test_it_imports_next_to_nothing(tmp_path: Path) -> None:
    run_hook(tmp_path, "proc-receive", b"", None)
    assert imports_of(tmp_path / "hooks" / "proc-receive") <= {"_socket"}
