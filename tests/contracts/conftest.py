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
        metafunc.parametrize("world", {**DRIVERS, **VARIANTS} if isolation else DRIVERS, indirect=True)


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
