"""A server that speaks as much of the API, of server-sent events and of git over HTTP as the command line needs."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

Streamer = Callable[[web.Request, web.StreamResponse], Awaitable[None]]

# Accepts every ref, unless the option `plan` is given or a commit is told to be refused; says what it was asked.
_PROC_RECEIVE = f"""#!{sys.executable} -IS
import os, subprocess, sys
def read():
    lines = []
    while True:
        size = int(sys.stdin.buffer.read(4), 16)
        if size == 0:
            return lines
        lines.append(sys.stdin.buffer.read(size - 4).decode().rstrip("\\n"))
def write(text):
    sys.stdout.buffer.write(b"%04x" % (len(text) + 4) + text.encode())
read()
write("version=1\\0push-options atomic\\n")
sys.stdout.buffer.write(b"0000")
sys.stdout.buffer.flush()
refs = [line.split(" ") for line in read()]
options = read()
for option in options:
    print('{{"type": "plan", "option": "%s"}}' % option if "format=json" in options else "option " + option,
          file=sys.stderr, flush=True)
last = '{{"type": "done"}}' if "format=json" in options else "judged \\x1b[31m" + refs[0][2]
print(last, file=sys.stderr, flush=True)
refused = os.path.exists("refuse") and open("refuse").read()
for old, new, ref in refs:
    if refused:
        write("ng %s %s\\n" % (ref, refused))
    elif "plan" in options:
        write("ng %s plan only, nothing changed\\n" % ref)
    else:
        subprocess.run(["git", "update-ref", ref, new], check=True)
        write("ok %s\\n" % ref)
sys.stdout.buffer.write(b"0000")
sys.stdout.buffer.flush()
"""


@dataclass(frozen=True)
class Asked:
    """One request that came."""

    what: str
    query: dict[str, str]
    content: Any
    authorization: str | None


@dataclass
class SmallServer:
    """Answers what it was told to with `on`; everything that was asked is in `asked`."""

    folder: Path
    token: str
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    streams: dict[str, Streamer] = field(default_factory=dict)

    def on(self, what: str, content: Any, status: int = 200) -> None:
        """`what` is method and path, as `GET /api/me`; `content` may be called with the request."""
        self.answers[what] = (status, content)

    def on_stream(self, path: str, streamer: Streamer) -> None:
        """`streamer` writes the events of a GET of `path`."""
        self.streams[path] = streamer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def last(self, what: str) -> Asked:
        """The last request of this kind."""
        return [asked for asked in self.asked if asked.what == what][-1]

    def repository(self, project: str) -> Path:
        """A bare repository whose refs all go through a proc-receive hook."""
        path = self.folder / f"{project}.git"
        if not path.is_dir():
            path.mkdir(parents=True)
            self._git("init", "-q", "--bare", "-b", "main", str(path))
            for name, value in (
                ("receive.procReceiveRefs", "refs"),
                ("receive.advertisePushOptions", "true"),
                ("http.receivepack", "true"),
            ):
                self._git("--git-dir", str(path), "config", name, value)
            hook = path / "hooks" / "proc-receive"
            hook.write_text(_PROC_RECEIVE)
            hook.chmod(0o755)
        return path

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends it; safe to call twice."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _serve(self, ready: threading.Event) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main(ready))

    async def _main(self, ready: threading.Event) -> None:
        self._stop = asyncio.Event()
        application = web.Application(client_max_size=1 << 26)
        application.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        what = f"{request.method} {request.path}"
        is_git = "/git/" in request.path
        content = None if is_git or not request.can_read_body else await request.json()
        authorization = request.headers.get("Authorization")
        self.asked.append(Asked(what, dict(request.query), content, authorization))
        if not self._knows(authorization):
            detail = "Invalid token" if authorization else "Missing auth token"
            headers = {"WWW-Authenticate": 'Basic realm="Clowdy"'}
            return web.json_response({"detail": detail, "request_id": "r1"}, status=401, headers=headers)
        if is_git:
            return await self._git_http(request)
        if request.method == "GET" and request.path in self.streams:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            await self.streams[request.path](request, response)
            return response
        status, answer = self.answers.get(what, (404, {"detail": f"{what} not found", "request_id": "r2"}))
        if callable(answer):
            answer = answer(self.asked[-1])
        if isinstance(answer, bytes):
            return web.Response(body=answer, status=status)
        return web.json_response(answer, status=status)

    def _knows(self, authorization: str | None) -> bool:
        scheme, _, value = (authorization or "").partition(" ")
        if scheme == "Basic":
            value = base64.b64decode(value).decode().partition(":")[2]
        return value == self.token

    async def _git_http(self, request: web.Request) -> web.StreamResponse:
        """One round of git's own CGI."""
        project = request.path.partition("/git/")[2].partition(".git/")[0]
        self.repository(project)
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": "/" + request.path.partition("/git/")[2],
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "ana",
        }
        process = await asyncio.create_subprocess_exec(
            "git",
            "http-backend",
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        answer, _ = await process.communicate(await request.read())
        head, _, body = answer.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200 OK").split()[0])
        return web.Response(body=body, status=status, headers=headers)

    @staticmethod
    def _git(*arguments: str) -> None:
        import subprocess

        subprocess.run(["git", *arguments], check=True, stdin=subprocess.DEVNULL)


def event(value: Sequence[Any] | dict[str, Any]) -> bytes:
    """One server-sent event."""
    import json

    return f"data: {json.dumps(value)}\n\n".encode()
