"""A program of ours in a container, asked as one of this machine is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clowdy.hooks.syntax import FileFacts, FileProblem, SyntaxChild
from clowdy.hooks.tree import Entry, Kind
from clowdy.runtimes.docker.driver import DockerDriver
from tests.contracts.drivers import docker_driver
from tests.engine import PrivateEngine

pytestmark = pytest.mark.slow


@pytest.fixture
async def driver(functions_engine: PrivateEngine, tmp_path: Path) -> AsyncIterator[DockerDriver]:
    driver = docker_driver(tmp_path, functions_engine.url)
    await driver.open()
    yield driver
    await driver.close()


async def test_syntax_is_checked_by_the_python_of_the_base_image(driver: DockerDriver) -> None:
    files = {"good.py": b"def handler(event): ...", "bad.py": b"def handler(:"}
    entries = [Entry(path, Kind.FILE, "", len(content)) for path, content in files.items()]
    async with SyntaxChild(start=lambda worker: driver.open_tool(worker.read_bytes())) as child:
        assert child.version == driver.python
        said = await child.inspect(entries, lambda entry: files[entry.path])
        assert isinstance(said["good.py"], FileFacts)
        assert said["good.py"].names == ("handler",)
        assert isinstance(said["bad.py"], FileProblem)


async def test_what_is_too_much_ends_its_container_and_the_next_file_has_another(driver: DockerDriver) -> None:
    files = {"huge.py": b"x = " + b"[" * 900_000, "good.py": b"x = 1"}
    entries = [Entry(path, Kind.FILE, "", len(content)) for path, content in files.items()]
    async with SyntaxChild(start=lambda worker: driver.open_tool(worker.read_bytes())) as child:
        said = await child.inspect(entries, lambda entry: files[entry.path])
        assert isinstance(said["huge.py"], FileProblem)
        assert isinstance(said["good.py"], FileFacts)
