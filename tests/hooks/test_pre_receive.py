"""The pre-receive hook as a process of its own."""

from __future__ import annotations

import socket
from pathlib import Path

from .talk import imports_of, part, run_hook

LINES = b"0" * 40 + b" " + b"ab" * 20 + b" refs/heads/main\n"


def test_it_reports_the_push_and_ends_as_the_server_says(tmp_path: Path) -> None:
    heard: list[object] = []

    def answer(kind: bytes, fields: list[bytes], connection: socket.socket) -> None:
        heard.extend([kind, fields])
        connection.sendall(part(b">", b"line 1\n") + part(b">", b"line 2\n") + part(b"=", b"0"))

    done = run_hook(
        tmp_path,
        "pre-receive",
        LINES,
        answer,
        {"GIT_OBJECT_DIRECTORY": "/o;x\n=0", "GIT_ALTERNATE_OBJECT_DIRECTORIES": "/a:/b"},
    )
    assert done.returncode == 0
    assert done.stderr == b"line 1\nline 2\n"
    assert done.stdout == b""
    assert heard == [b"r", [b"abc", str(tmp_path).encode(), b"/o;x\n=0", b"/a:/b", LINES]]


def test_a_refusal(tmp_path: Path) -> None:
    done = run_hook(tmp_path, "pre-receive", LINES, lambda kind, fields, server: server.sendall(part(b"=", b"1")))
    assert done.returncode == 1


def test_no_answer_no_server_half_an_answer_or_an_odd_one_refuse(tmp_path: Path) -> None:
    for number, answer in enumerate(
        [
            None,
            lambda kind, fields, server: None,
            lambda kind, fields, server: server.sendall(b"=\0\0\0\x01"),
            lambda kind, fields, server: server.sendall(part(b">", b"fine\n")),
            lambda kind, fields, server: server.sendall(part(b"=", b"")),
            lambda kind, fields, server: server.sendall(part(b"=", b"00")),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert run_hook(folder, "pre-receive", LINES, answer).returncode == 1


def test_it_imports_next_to_nothing(tmp_path: Path) -> None:
    run_hook(tmp_path, "pre-receive", LINES, None)
    assert imports_of(tmp_path / "hooks" / "pre-receive") <= {"_socket"}
