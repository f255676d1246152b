"""`git http-backend` behind aiohttp: takes pushes as Clowdy does, and deploys nothing.

`python -m tests.bench.references.backend PORT FOLDER TOKEN`: repositories lie below FOLDER, the password is TOKEN.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys

from aiohttp import web

from clowdy.server.runtime import event_loop_factory

PIECE = 65536


class Backend:
    """The CGI program of git for one folder of repositories."""

    def __init__(self, folder: str, token: str) -> None:
        self._folder = folder
        self._token = token

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Runs it for one request, streamed both ways."""
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind != "Basic" or base64.b64decode(given).decode().partition(":")[2] != self._token:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        process = await asyncio.create_subprocess_exec(
            *("git", "http-backend"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": self._folder,
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
                "PATH_INFO": request.path.removeprefix("/git"),
                "QUERY_STRING": request.query_string,
                "REQUEST_METHOD": request.method,
                "REMOTE_USER": "any",
                "CONTENT_TYPE": request.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
                **({"CONTENT_LENGTH": str(request.content_length)} if request.content_length is not None else {}),
            },
        )
        assert process.stdin is not None and process.stdout is not None
        async for piece in request.content.iter_any():
            process.stdin.write(piece)
            await process.stdin.drain()
        process.stdin.close()
        response = web.StreamResponse()
        while (line := await process.stdout.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().strip().partition(": ")
            if name == "Status":
                response.set_status(int(value.split()[0]))
            else:
                response.headers[name] = value
        await response.prepare(request)
        while piece := await process.stdout.read(PIECE):
            await response.write(piece)
        await process.wait()
        return response


def main(port: int, folder: str, token: str) -> None:
    """Serves until it is ended."""
    # The body goes to git as it came: git itself inflates it.
    application = web.Application(client_max_size=0, handler_args={"auto_decompress": False})
    application.router.add_route("*", "/git/{path:.*}", Backend(folder, token))
    factory = event_loop_factory()
    loop = factory() if factory else None
    web.run_app(application, host="127.0.0.1", port=port, access_log=None, print=None, loop=loop)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
