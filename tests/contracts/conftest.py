from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from clowdy.runtimes.api import DriverUnavailable, Promise
from tests.contracts.drivers import DRIVERS, VARIANTS
from tests.contracts.world import World


@pytest.fixture(scope="session")
def folders() -> Iterator[Path]:
    """A folder that every user may pass, unlike pytest's own: instances have users of their own."""
    folder = Path(tempfile.mkdtemp(prefix="clowdy-contracts-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "world" in metafunc.fixturenames:
        isolation = metafunc.module.__name__.endswith("test_isolation")
        names = {**DRIVERS, **VARIANTS} if isolation else DRIVERS
        # Instances take most of the suite's time: `make test-fast` asks one driver what it answers, and no more.
        answers = metafunc.module.__name__.endswith("test_answers")
        marks = {name: () if answers and name == "process" else (pytest.mark.slow,) for name in names}
        metafunc.parametrize("world", [pytest.param(name, marks=marks[name]) for name in names], indirect=True)


@pytest.fixture
def layers(world: World, folders: Path) -> Path:
    """Where the open driver looks for requirements layers."""
    return folders / world.driver.name / "layers"


@pytest.fixture
async def world(request: pytest.FixtureRequest, folders: Path) -> AsyncIterator[World]:
    """An open driver. What it leaves behind fails the test."""
    name = request.param
    data_dir = folders / name
    driver = {**DRIVERS, **VARIANTS}[name](data_dir, folders / f"{name}-run")
    try:
        await driver.open()
    except DriverUnavailable as error:
        pytest.skip(f"{name}: {error}")
    yield World(driver)
    await driver.close()
    left = list(data_dir.glob("runtime/*/instances/*"))
    assert not left


@pytest.fixture
def needs(world: World) -> Callable[[Promise], None]:
    """Skips a test of a promise that the driver does not make here."""

    def check(*promises: Promise) -> None:
        if not world.driver.promises.intersection(promises):
            pytest.skip(f"{world.driver.name} does not promise: {', '.join(promises)}")

    return check
