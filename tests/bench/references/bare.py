"""A bare aiohttp handler on the event loop that the server has: `python -m tests.bench.references.bare PORT`."""

from __future__ import annotations

import sys

from aiohttp import web

from clowdy.server.runtime import event_loop_factory


async def hello(request: web.Request) -> web.Response:
    return web.json_response({"message": "Hello"})


def main(port: int) -> None:
    application = web.Application()
    application.router.add_get("/", hello)
    factory = event_loop_factory()
    web.run_app(
        application,
        host="127.0.0.1",
        port=port,
        access_log=None,
        print=None,
        loop=factory() if factory else None,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
