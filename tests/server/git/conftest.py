from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from clowdy.server.git.repos import Repositories, Repository
from clowdy.server.git.settings import GitSettings, find_binaries

from .remote import Remote

PROJECT = "0123456789ab"


@pytest.fixture
def settings(tmp_path: Path) -> GitSettings:
    git, setpriv = find_binaries()
    return GitSettings(git=git, setpriv=setpriv, hooks=tmp_path / "hooks")


@pytest.fixture
def repositories(tmp_path: Path, settings: GitSettings) -> Iterator[Repositories]:
    made = Repositories(tmp_path / "repositories", settings)
    yield made
    made.close()


@pytest.fixture
def repository(repositories: Repositories) -> Repository:
    return repositories.create(PROJECT)


@pytest_asyncio.fixture
async def remote(tmp_path: Path, settings: GitSettings, repositories: Repositories) -> AsyncIterator[Remote]:
    made = Remote(tmp_path, settings, repositories)
    await made.open()
    yield made
    await made.close()
