"""An index over HTTP that misbehaves. It is this machine's loopback, so that builds have the server's own network."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from clowdy.runtimes.layers.api import BuildFailed
from clowdy.runtimes.layers.builder import Apart, LayerBuilder
from clowdy.runtimes.layers.index import Index
from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.schema.locks import Lock, Wanted, pin
from tests.runtimes.layers.conftest import Make
from tests.runtimes.layers.wheels import digest_of, make_wheel

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SOON = BuildLimits(stall_seconds=1.0)
ONCE = BuildLimits(retries=0)


@asynccontextmanager
async def index_server(files: Handler, page: Handler | None = None) -> AsyncIterator[str]:
    """An index with one wheel, `one`, whose file is answered by `files`; its URL, without a scheme."""
    application = web.Application()

    async def listing(request: web.Request) -> web.StreamResponse:
        return web.Response(
            text='<html><body><a href="/files/one-1.0-py3-none-any.whl">one-1.0-py3-none-any.whl</a></body></html>',
            content_type="text/html",
        )

    application.router.add_get("/simple/one/", page or listing)
    application.router.add_get("/files/{name}", files)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}/simple"
    finally:
        await runner.cleanup()


async def nowhere(request: web.Request) -> web.StreamResponse:
    raise web.HTTPNotFound


async def ask(builder: LayerBuilder, said: list[str]) -> Lock:
    lock = await builder.resolve(Wanted(("one",)), say=said.append)
    await builder.build(lock, said.append)
    return lock


async def test_an_index_with_a_password_is_used_and_the_password_never_shown(make: Make, place: Path) -> None:
    wheel = make_wheel(place, "one")
    asked: list[str | None] = []

    async def files(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Authorization"))
        return web.FileResponse(wheel)

    async with index_server(files) as url:
        builder = await make(Index(default=f"http://reader:hunter2secret@{url}"), apart=Apart.PARTLY)
        said: list[str] = []
        lock = await ask(builder, said)
    assert lock.pins == (pin("one", "1.0", [digest_of(wheel)]),)
    assert None not in asked
    assert "packages are installed with the server's own network" in said
    assert not any("hunter2secret" in line for line in said)


async def test_a_password_that_is_refused_is_not_shown_either(make: Make) -> None:
    async def refused(request: web.Request) -> web.StreamResponse:
        return web.Response(status=401, text="who is hunter2secret?")

    async with index_server(refused, refused) as url:
        builder = await make(Index(default=f"http://reader:hunter2secret@{url}"), apart=Apart.PARTLY)
        said: list[str] = []
        with pytest.raises(BuildFailed) as caught:
            await ask(builder, said)
    assert "hunter2secret" not in caught.value.text + "".join(said)
    assert "one" in caught.value.text


@pytest.mark.parametrize("drips", [False, True], ids=["hangs", "drips"])
async def test_an_index_that_hangs_is_given_up(make: Make, drips: bool) -> None:
    async def hanging(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        while True:
            if drips:
                await response.write(b" ")
            await asyncio.sleep(0.1)

    async with index_server(hanging, hanging) as url:
        builder = await make(Index(default=f"http://a:hunter2secret@{url}"), apart=Apart.PARTLY, limits=SOON)
        with pytest.raises(BuildFailed) as caught:
            await ask(builder, [])
        assert "hunter2secret" not in caught.value.text
        assert f"nothing came from http://****@{url} for 1 s" in caught.value.text


async def test_an_index_that_breaks_off_in_the_middle_of_a_file_leaves_no_layer(make: Make, place: Path) -> None:
    wheel = make_wheel(place, "one", files={"one.py": "", "data": bytes(range(256)) * 4096})

    async def half(request: web.Request) -> web.StreamResponse:
        content = wheel.read_bytes()
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[: len(content) // 2])
        assert request.transport is not None
        request.transport.abort()
        return response

    async with index_server(half) as url:
        builder = await make(Index(default=f"http://{url}"), apart=Apart.PARTLY, limits=ONCE)
        lock = Lock.of([pin("one", "1.0", [digest_of(wheel)])], builder.python, builder.platform)
        with pytest.raises(BuildFailed) as caught:
            await builder.build(lock, lambda line: None)
    assert "one==1.0" in caught.value.text
    assert builder.sizes() == {}


async def test_an_index_that_is_not_there_is_named(make: Make) -> None:
    async with index_server(nowhere) as url:
        pass
    builder = await make(Index(default=f"http://{url}"), apart=Apart.PARTLY, limits=ONCE)
    with pytest.raises(BuildFailed, match=url):
        await ask(builder, [])
