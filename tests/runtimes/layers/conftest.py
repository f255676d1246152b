from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from clowdy.runtimes.layers.builder import LayerBuilder
from clowdy.runtimes.layers.tree import delete
from tests.runtimes.layers.workplaces import ImageWorkplace, LayerWorkplace, Workplace

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
    workplace = LayerWorkplace(place, os.geteuid())
    yield workplace.open
    await workplace.close()
    assert await workplace.left() == []


@pytest.fixture(params=["folders", "images"])
def unopened_workplace(request: pytest.FixtureRequest, place: Path) -> Workplace:
    """Each of the two. Outside of an event loop, since an engine is started by one of its own."""
    if request.param == "images":
        return ImageWorkplace(place, request.getfixturevalue("functions_engine").url)
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    return LayerWorkplace(place, os.geteuid())


@pytest.fixture
async def workplace(unopened_workplace: Workplace) -> AsyncIterator[Workplace]:
    """Each of the two; what a build leaves behind fails the test."""
    yield unopened_workplace
    left = await unopened_workplace.left()
    await unopened_workplace.close()
    assert left == []
