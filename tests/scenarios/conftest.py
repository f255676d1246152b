from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Client, Server

pytestmark = pytest.mark.slow


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def runtime() -> str:
    """The sandbox, unless the machine forbids it and CLOWDY_TEST_RUNTIME says so in so many words."""
    return os.environ.get("CLOWDY_TEST_RUNTIME", "sandbox")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, runtime: str) -> Iterator[Server]:
    """One server that the scenarios share; each uses a project of its own."""
    server = Server(tmp_path_factory.mktemp("server"), runtime=runtime).start()
    yield server
    assert server.stop() == 0, server.log


@pytest.fixture
def own_server(tmp_path: Path, runtime: str) -> Iterator[Server]:
    """A server for one scenario alone, to be killed and started again."""
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder, runtime=runtime).start()
    yield server
    if server.process is not None and server.process.poll() is None:
        server.stop()


@pytest.fixture
def name() -> str:
    """A project's name that no other scenario has."""
    return f"p-{secrets.token_hex(4)}"


@pytest.fixture
def client(server: Server, name: str, tmp_path: Path) -> Client:
    """A person's repository of a new project on the shared server."""
    return server.client(tmp_path / "work", name)
