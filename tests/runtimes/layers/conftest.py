from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from clowdy.runtimes.layers.builder import Apart, LayerBuilder
from clowdy.runtimes.layers.index import Index
from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.layers.tree import delete

Make = Callable[..., Awaitable[LayerBuilder]]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user may pass, unlike pytest's own: builds have users of their own."""
    folder = Path(tempfile.mkdtemp(prefix="clowdy-layers-"))
    folder.chmod(0o755)
    (folder / "wheels").mkdir(mode=0o755)
    yield folder
    # Layers are read-only, which keeps an ordinary user's own deletion out.
    delete(folder)


@pytest.fixture
async def make(place: Path) -> AsyncIterator[Make]:
    """Makes builders of one data directory; what a build leaves behind fails the test."""
    opened: list[LayerBuilder] = []

    async def open_one(
        index: Index | None = None, *, apart: Apart = Apart.WHOLLY, limits: BuildLimits | None = None
    ) -> LayerBuilder:
        index = index or Index(no_index=True, find_links=(str(place / "wheels"),))
        builder = LayerBuilder(place / "layers", place / "run", index, apart=apart, limits=limits)
        await builder.open()
        opened.append(builder)
        return builder

    yield open_one
    for builder in opened:
        await builder.close()
    assert list((place / "layers" / ".builds").iterdir()) == []
