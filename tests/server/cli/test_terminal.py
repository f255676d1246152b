"""What is different on a terminal: what is typed in secret, and colours."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from clowdy.server.cli import accounts
from tests.server.cli.conftest import TOKEN, Terminal
from tests.server.cli.small_server import SmallServer

SHOP = "/api/projects/shop"


def on_a_terminal(arguments: list[str], folder: Path, asked: bytes = b"", typed: bytes = b"") -> tuple[int, str]:
    """Runs `clowdy` on a terminal of its own; types when it is asked. Its exit code, and all that was to be seen."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "clowdy.server.cli.main", *arguments],
        cwd=folder,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    seen = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:
            break
        seen += piece
        if asked and seen.rstrip().endswith(asked):
            os.write(master, typed)
            asked = b""
    os.close(master)
    return process.wait(30), seen.decode()


def test_a_token_is_not_seen_while_it_is_typed(terminal: Terminal, server: SmallServer) -> None:
    question = f"Token for {server.url}:".encode()
    code, seen = on_a_terminal(["login", server.url], terminal.folder, question, TOKEN.encode() + b"\n")

    assert code == 0
    assert "Signed in" in seen
    assert TOKEN not in seen
    assert accounts.load().token(server.url) == TOKEN


def test_a_secret_is_not_seen_while_it_is_typed(signed_in: Terminal, server: SmallServer) -> None:
    server.on(f"PUT {SHOP}/secrets/KEY", {"name": "KEY", "replaced": 1})
    code, seen = on_a_terminal(
        ["secret", "set", "KEY", "-p", "shop"], signed_in.folder, b"Value of KEY:", b"hidden value\n"
    )

    assert code == 0
    assert "Set KEY. 1 instance that had the old value is replaced." in seen
    assert "hidden" not in seen
    assert server.last(f"PUT {SHOP}/secrets/KEY").content == {"value": "hidden value"}


@pytest.mark.parametrize(("typed", "code"), [(b"shop\n", 0), (b"yes\n", 1)])
def test_a_deletion_wants_the_name_typed(signed_in: Terminal, server: SmallServer, typed: bytes, code: int) -> None:
    server.on(f"GET {SHOP}", {"slug": "shop"})
    server.on(f"DELETE {SHOP}", {"detail": "Project deleted"})
    ended, _ = on_a_terminal(
        ["project", "delete", "shop"], signed_in.folder, b"This takes shop down. Its name, to go on:", typed
    )

    assert ended == code
    assert any(asked.what == f"DELETE {SHOP}" for asked in server.asked) is (code == 0)


def test_colours_are_for_terminals_that_want_them(
    signed_in: Terminal, server: SmallServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on("GET /api/projects", [{"slug": "shop"}])
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" not in on_a_terminal(["project", "list"], signed_in.folder)[1]

    monkeypatch.delenv("NO_COLOR")
    assert "\x1b[" in on_a_terminal(["project", "list"], signed_in.folder)[1]
    assert "\x1b[" not in signed_in.run("project", "list").out

    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b[" not in on_a_terminal(["project", "list"], signed_in.folder)[1]
