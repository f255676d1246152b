"""A server whose functions cannot run at its start: it serves all else, and them as soon as they can."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.process import ProcessDriver
from clowdy.server import runtime
from clowdy.server.app import open_parts
from clowdy.server.config import Config
from clowdy.server.listen import bind, listen
from clowdy.server.lock import DataLock
from tests.harness import ADMIN, Server

pytestmark = pytest.mark.slow


class LateDriver(ProcessDriver):
    """Plain processes that need something that is down."""

    down = True

    async def open(self) -> None:
        if self.down:
            raise DriverUnavailable("the engine is down. Cure: start the engine", passing=True)
        await super().open()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data directory of a server that stopped, with one project."""
    server = Server(tmp_path, runtime="process").start()
    try:
        client = server.client(tmp_path / "shop", "shop")
        client.hello()
        client.push()
    finally:
        server.stop()
    return server.data


@contextlib.asynccontextmanager
async def serving(config: Config) -> AsyncIterator[httpx.AsyncClient]:
    with DataLock.acquire(config.data_dir) as lock, bind(config) as bound:
        config = config.bound_to(bound.getsockname()[1])
        async with (
            open_parts(config, lock) as parts,
            listen(parts, bound),
            httpx.AsyncClient(base_url=config.public_url) as client,
        ):
            yield client


async def missing(client: httpx.AsyncClient) -> list[str]:
    """What the server's own doctor says that functions lack to run."""
    found = (await client.get("/api/doctor", headers={"Authorization": f"Bearer {ADMIN}"})).json()["findings"]
    return [each["found"] for each in found if (each["name"], each["state"]) == ("runtime", "missing")]


async def test_calls_are_refused_for_a_while_and_answered_once_functions_can_run(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    driver = LateDriver(data)
    monkeypatch.setattr(runtime, "make_driver", lambda *_: driver)
    record = data / runtime.FILE
    before = json.loads(record.read_text())
    record.write_text(json.dumps({**before, "driver": "another"}))
    config = Config(data_dir=data, port=0, runtime="process", admin_token=ADMIN)
    async with serving(config) as client:
        refused = await client.get("/api/gateway/shop/")
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert int(refused.headers["Retry-After"]) > 0
        assert (await client.get("/api/health")).status_code == 200
        assert "live releases are prepared" not in caplog.text
        assert await missing(client) == ["the engine is down"]

        driver.down = False
        async with asyncio.timeout(20):
            while json.loads(record.read_text()) != before:
                await asyncio.sleep(0.05)
        answered = await client.get("/api/gateway/shop/")
        assert (answered.status_code, answered.json()) == (200, {"message": "Hello"})
        assert await missing(client) == []
        # What is done at a start for another driver than before is done now.
        assert "functions have another runtime: process (before: another): live releases are prepared" in caplog.text
