"""The whole story in under a minute: a throw-away server, a real git client, and each command with what came back.

Exits 0 only if every step did what it says. Only CLOWDY_RUNTIME with the engine that DOCKER_HOST names, and
CLOWDY_MEMORY_BUDGET are taken from outside: data directory, port, HOME, git configuration and images are the demo's own
and go with it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.docker.driver import server_name
from clowdy.runtimes.docker.engine import Engine, find_address
from clowdy.runtimes.docker.images import Images

CLOWDY = Path(__file__).resolve().parent.parent / ".venv" / "bin" / "clowdy"
# A first start in Docker may have to pull the base image.
START_SECONDS = 180
KEPT = ("CLOWDY_RUNTIME", "CLOWDY_MEMORY_BUDGET", "DOCKER_HOST", "LANG", "TERM", "USER", "LOGNAME", "SSL_CERT_FILE")


class DemoError(Exception):
    """A step did not do what it says."""


class Demo:
    """The story's stage: a folder, an environment, a server."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        home = folder / "home"
        home.mkdir()
        (folder / "bin").mkdir()
        (folder / "bin" / "clowdy").symlink_to(CLOWDY)
        self.environment = {name: os.environ[name] for name in KEPT if name in os.environ} | {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "PATH": f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "NO_COLOR": "1",
        }
        self.server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """The server, with embedded defaults in a folder that goes away."""
        say(f"a server of its own on {self.url}, data in a folder that goes away")
        log = (self.folder / "server.log").open("wb")
        command = [
            str(CLOWDY),
            "serve",
            "--first-run",
            "--data-dir",
            str(self.folder / "data"),
            "--port",
            str(self.port),
        ]
        self.server = subprocess.Popen(
            command, env=self.environment, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.server.poll() is not None:
                break
            lines = self._server_log().splitlines()
            for line in lines:
                if "functions cannot run" in line:
                    raise DemoError(line.removeprefix("clowdy: "))
            # The last thing that it says: then it has said whether functions can run.
            if f"  curl {self.url}/api/gateway/hello/" in lines:
                return
            time.sleep(0.05)
        raise DemoError(f"the server did not start:\n{self._server_log()}")

    def _server_log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def stop(self) -> None:
        """Ends the server as a service manager would."""
        if self.server is not None and self.server.poll() is None:
            self.server.send_signal(signal.SIGTERM)
            try:
                self.server.wait(40)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
        used = self.folder / "data" / "runtime.json"
        if used.exists() and json.loads(used.read_text())["driver"] == "docker":
            asyncio.run(self._give_up_images())

    async def _give_up_images(self) -> None:
        engine = Engine(find_address(self.environment))
        try:
            await engine.open()
            await Images(engine, server_name(self.folder / "data"), self.folder, trial=True).close()
        except DriverUnavailable as error:
            say(f"images of the demo stay: {error}")
        finally:
            await engine.close()

    def run(self, *command: str, folder: str = "hello", fails: bool = False, shows: Sequence[str] = ()) -> str:
        """Runs one command and prints it with its output; raises DemoError when it did anything else than told."""
        print(f"\n$ {shlex.join(command)}", flush=True)
        done = subprocess.run(
            command,
            env=self.environment,
            cwd=self.folder / folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        print(done.stdout.rstrip(), flush=True)
        if (done.returncode != 0) is not fails:
            raise DemoError(f"{shlex.join(command)} exited {done.returncode}")
        for text in shows:
            if text not in done.stdout:
                raise DemoError(f"{shlex.join(command)} did not print {text!r}")
        return done.stdout

    def call(self, path: str, expected: str, release: int) -> None:
        """Calls the function as anyone would and compares the answer."""
        url = f"{self.url}/api/gateway/hello{path}"
        print(f"\n$ curl {url}", flush=True)
        answer = httpx.get(url, timeout=30)
        print(answer.text, flush=True)
        if answer.status_code != 200 or expected not in answer.text:
            raise DemoError(f"{url} answered {answer.status_code}, without {expected!r}")
        if answer.headers.get("X-Clowdy-Release") != str(release):
            raise DemoError(f"{url} was answered by release {answer.headers.get('X-Clowdy-Release')}, not {release}")


def say(text: str) -> None:
    """A line between the commands."""
    print(f"\n# {text}", flush=True)


def story(demo: Demo) -> None:
    """A project from nothing to a rollback."""
    say("a new project, with the remote `clowdy` and no token in .git/config")
    demo.run("clowdy", "init", "hello", folder=".")
    project = demo.folder / "hello"

    say("a push makes the project and puts it live")
    demo.run("git", "push", "clowdy", "main", shows=["created project hello", "main -> live", "deploy/1"])
    demo.call("/", "Hello", 1)

    say("a push with a mistake is refused with its line; what serves goes on")
    manifest = project / "clowdy.yaml"
    good = manifest.read_text()
    manifest.write_text(good.replace("GET /:", "GET /: hello\n  GET /again: helo\n  #", 1))
    demo.run("git", "commit", "-qam", "A route with a mistake", "--author", "Demo <demo@example.com>")
    demo.run("git", "push", "clowdy", "main", fails=True, shows=["clowdy.yaml:", "remote rejected", "hello"])
    demo.call("/", "Hello", 1)

    say("mended, with a second version of the function")
    manifest.write_text(good)
    handler = project / "functions" / "hello.py"
    handler.write_text(handler.read_text().replace("Hello", "Good day"))
    demo.run("git", "commit", "-qam", "Good day", "--author", "Demo <demo@example.com>")
    demo.run("git", "push", "clowdy", "main", shows=["deploy/2"])
    demo.call("/", "Good day", 2)

    say("back to the first release by its tag: no force, no build")
    demo.run("git", "fetch", "-q", "clowdy")
    demo.run("git", "push", "clowdy", "deploy/1:live", shows=["deploy/1 -> live"])
    demo.call("/", "Hello", 1)

    say("every call is in the log")
    demo.run("clowdy", "logs", shows=["hello"])
    demo.run("clowdy", "releases", shows=["deploy/1", "deploy/2"])


def free_port() -> int:
    """A port of the loopback address that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> int:
    """Plays the story; 0 when every step did what it says."""
    if shutil.which("git") is None:
        print("demo: git is missing", file=sys.stderr)
        return 1
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="clowdy-demo-"))
    demo = Demo(folder, free_port())
    demo.environment |= {
        "GIT_AUTHOR_NAME": "Demo",
        "GIT_AUTHOR_EMAIL": "demo@example.com",
        "GIT_COMMITTER_NAME": "Demo",
        "GIT_COMMITTER_EMAIL": "demo@example.com",
    }
    try:
        demo.start()
        story(demo)
    except (DemoError, httpx.HTTPError, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        print(f"\ndemo: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        demo.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\ndemo: every step did what it says, in {time.monotonic() - began:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
