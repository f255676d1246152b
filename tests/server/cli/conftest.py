"""A small real server on loopback, real git, and `clowdy` run as its users run it, in a home of its own."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from clowdy.server.cli.main import main
from tests.server.cli.small_server import SmallServer

TOKEN = "clowdy_0123456789ab_secret"
PRESET = "my own tökén: with = blanks 日本"


@dataclass(frozen=True)
class Result:
    """What a verb printed and how it ended."""

    code: int
    out: str
    err: str


class Terminal:
    """A user with a home and a folder. `run` is one command line."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.capsys = capsys
        self.monkeypatch = monkeypatch

    @property
    def config(self) -> Path:
        return Path(os.environ["XDG_CONFIG_HOME"]) / "clowdy" / "config.toml"

    def run(self, *arguments: str, stdin: str | bytes = b"", folder: Path | None = None) -> Result:
        """Runs a verb in this process. Standard input is not a terminal."""
        self.capsys.readouterr()
        content = stdin.encode() if isinstance(stdin, str) else stdin
        with self.monkeypatch.context() as patch:
            patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
            patch.chdir(folder or self.folder)
            code = main(list(arguments))
        out, err = self.capsys.readouterr()
        return Result(code, out, err)

    def git(self, *arguments: str, folder: Path | None = None, fails: bool = False) -> str:
        """Runs git; its output of both kinds."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder or self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert (done.returncode != 0) is fails, done.stdout
        return done.stdout

    def repository(self, *remotes: tuple[str, str]) -> Path:
        """A repository with one commit and the given remotes."""
        folder = self.folder / "work"
        folder.mkdir()
        self.git("init", "-q", "-b", "main", folder=folder)
        (folder / "clowdy.yaml").write_text("functions: {hello: {}}\nroutes:\n  GET /: hello\n")
        (folder / "functions").mkdir()
        (folder / "functions" / "hello.py").write_text("def handler(event):\n    return 1\n")
        self.git("add", "-A", folder=folder)
        self.git("-c", "user.name=Ana", "-c", "user.email=ana@example.com", "commit", "-qm", "First", folder=folder)
        for name, url in remotes:
            self.git("remote", "add", name, url, folder=folder)
        return folder

    def commit(self, folder: Path, files: dict[str, str], message: str = "More") -> None:
        for name, content in files.items():
            (folder / name).write_text(content)
        self.git("add", "-A", folder=folder)
        self.git("-c", "user.name=Ana", "-c", "user.email=ana@example.com", "commit", "-qm", message, folder=folder)


_CLEARED: Sequence[str] = (
    "CLOWDY_URL",
    "CLOWDY_TOKEN",
    "EMAIL",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "HTTP_PROXY",
    "http_proxy",
)


@pytest.fixture
def terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A user who has not signed in anywhere."""
    for name in [*_CLEARED, *(name for name in os.environ if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER")))]:
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "0")
    monkeypatch.setenv("NO_COLOR", "1")
    folder = tmp_path / "here"
    folder.mkdir()
    return Terminal(folder, capsys, monkeypatch)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SmallServer]:
    """A server that knows TOKEN as ana's."""
    with SmallServer(tmp_path / "server", TOKEN) as server:
        server.on("GET /api/me", {"name": "ana", "scope": "admin", "project": None})
        yield server


@pytest.fixture
def signed_in(terminal: Terminal, server: SmallServer) -> Terminal:
    """The same user, signed in."""
    assert terminal.run("login", server.url, stdin=TOKEN + "\n").code == 0
    return terminal
