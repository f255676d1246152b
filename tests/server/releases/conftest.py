from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from .world import World, world


@pytest_asyncio.fixture
async def made(tmp_path: Path) -> AsyncIterator[World]:
    """A server with the project `shop`, in which nothing was pushed yet."""
    async with world(tmp_path / "data") as made:
        await made.releases.projects.create("shop", "ana")
        yield made
