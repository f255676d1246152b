"""A real server in its own process and a real git client in its own home, on loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

CLOWDY = Path(__file__).resolve().parent.parent / ".venv" / "bin" / "clowdy"
ADMIN = "admin-token-of-the-tests"
HELLO = 'def handler(event):\n    return {"message": "Hello"}\n'
MANIFEST = "functions:\n  hello: {}\nroutes:\n  GET /: hello\n"


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Server:
    """One `clowdy serve`."""

    folder: Path
    runtime: str = "sandbox"
    environment: Mapping[str, str] = field(default_factory=dict)
    options: Sequence[str] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def start(self) -> Server:
        command = [
            str(CLOWDY),
            "serve",
            "--data-dir",
            str(self.data),
            "--port",
            str(self.port),
            "--runtime",
            self.runtime,
            *self.options,
        ]
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.folder),
            "CLOWDY_ADMIN_TOKEN": ADMIN,
            "CLOWDY_STANDBYS": "2",
            **self.environment,
        }
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.wait_until_it_serves()
        return self

    def wait_until_it_serves(self, seconds: float = 30) -> None:
        assert self.process is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/api/health", timeout=2).status_code == 200:
                    return
            time.sleep(0.02)
        raise AssertionError(f"the server does not serve:\n{self.log}")

    def stop(self, seconds: float = 40) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def api(self, method: str, path: str, token: str = ADMIN, **more: Any) -> httpx.Response:
        return httpx.request(
            method, f"{self.url}{path}", headers={"Authorization": f"Bearer {token}"}, timeout=30, **more
        )

    def call(self, project: str, path: str = "/", method: str = "GET", **more: Any) -> httpx.Response:
        return httpx.request(method, f"{self.url}/api/gateway/{project}{path}", timeout=60, **more)

    def remote(self, project: str, token: str = ADMIN) -> str:
        return f"http://any:{token}@127.0.0.1:{self.port}/git/{project}.git"

    def client(self, folder: Path, project: str, token: str = ADMIN) -> Client:
        return Client(folder, self.remote(project, token))


@dataclass
class Client:
    """A person's repository with the remote `clowdy`."""

    folder: Path
    remote: str

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "clowdy", self.remote)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder.parent),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": "Ana",
            "GIT_AUTHOR_EMAIL": "ana@example.com",
            "GIT_COMMITTER_NAME": "Ana",
            "GIT_COMMITTER_EMAIL": "ana@example.com",
            "LC_ALL": "C",
        }

    def git(self, *arguments: str, fails: bool = False, timeout: float = 120) -> str:
        """Output of stdout and stderr together; asserts on the exit code."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        assert (done.returncode != 0) is fails, f"git {' '.join(arguments)} exited {done.returncode}:\n{done.stdout}"
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A git command that goes on beside the test, with its children in a process group of their own."""
        return subprocess.Popen(
            ["git", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def write(self, files: Mapping[str, str | bytes]) -> None:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def commit(self, files: Mapping[str, str | bytes], message: str = "A change") -> str:
        self.write(files)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD").strip()

    def push(self, *refs: str, fails: bool = False, options: Sequence[str] = ()) -> str:
        named = [part for option in options for part in ("-o", option)]
        return self.git("push", *named, "clowdy", *(refs or ("main",)), fails=fails)

    def hello(self, text: str = "Hello") -> str:
        """A commit of the smallest project that answers."""
        return self.commit({"clowdy.yaml": MANIFEST, "functions/hello.py": HELLO.replace("Hello", text)}, text)


def remove(folder: Path) -> None:
    """A folder with everything in it, also what is read-only."""
    shutil.rmtree(folder, ignore_errors=True)
