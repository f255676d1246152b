"""What a function finds of the container around it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts.drivers import docker_driver
from tests.contracts.world import World
from tests.engine import PrivateEngine

pytestmark = pytest.mark.slow


async def test_the_pipes_to_the_engine_are_out_of_reach(functions_engine: PrivateEngine, tmp_path: Path) -> None:
    source = """
        import os
        def handler(event):
            said = {}
            for path in ("fd/1", "fd/2", "task/1/fd/1", "environ", "mem", "cwd/."):
                try:
                    os.close(os.open(f"/proc/1/{path}", os.O_WRONLY if "fd" in path else os.O_RDONLY))
                    said[path] = "opened"
                except OSError as error:
                    said[path] = type(error).__name__
            with open("/proc/1/comm") as name:
                return [name.read().strip(), said]
        """
    driver = docker_driver(tmp_path, functions_engine.url)
    await driver.open()
    try:
        name, said = (await World(driver).outcome(source)).json
        assert name == "init"
        assert set(said.values()) == {"PermissionError"}, said
    finally:
        await driver.close()
