from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.harness import Client, Server

pytestmark = pytest.mark.slow

RUNTIME = os.environ.get("CLOWDY_TEST_RUNTIME", "sandbox")
"""The sandbox, unless the machine forbids it and another is named in so many words."""

IN_BOTH = {
    "test_starters",
    "test_functions",
    "test_streams",
    "test_applications",
    "test_frameworks",
    "test_requirements",
}
"""What is promised of functions: told of containers as well."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "runtime" in metafunc.fixturenames:
        module = metafunc.module.__name__.rpartition(".")[2]
        names = ["sandbox", "docker"] if module in IN_BOTH and RUNTIME == "sandbox" else [RUNTIME]
        metafunc.parametrize("runtime", names, indirect=True, scope="session", ids=names if len(names) > 1 else [""])


@pytest.fixture(scope="session")
def runtime(request: pytest.FixtureRequest) -> str:
    """What functions run in."""
    return str(request.param)


@pytest.fixture(scope="session")
def surroundings(request: pytest.FixtureRequest, runtime: str) -> Mapping[str, str]:
    """What a server of `runtime` finds in its environment."""
    return {"DOCKER_HOST": request.getfixturevalue("functions_engine").url} if runtime == "docker" else {}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, runtime: str, surroundings: Mapping[str, str]) -> Iterator[Server]:
    """One server that the scenarios share; each uses a project of its own."""
    server = Server(tmp_path_factory.mktemp("server"), runtime=runtime, environment=surroundings).start()
    yield server
    assert server.stop() == 0, server.log


@pytest.fixture
def own_server(tmp_path: Path, runtime: str, surroundings: Mapping[str, str]) -> Iterator[Server]:
    """A server for one scenario alone, to be killed and started again."""
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder, runtime=runtime, environment=surroundings).start()
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
