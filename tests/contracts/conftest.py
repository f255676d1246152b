from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from clowdy.runtimes.api import DriverUnavailable, Promise
from clowdy.runtimes.sandbox.network import PUBLIC_ONLY
from tests.contracts.drivers import DOCKER, DRIVERS, NAMES, VARIANTS, MakeDriver, docker_driver
from tests.contracts.world import World


@pytest.fixture(scope="session")
def folders() -> Iterator[Path]:
    """A folder that every user may pass, unlike pytest's own: instances have users of their own."""
    folder = Path(tempfile.mkdtemp(prefix="clowdy-contracts-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "driver_name" in metafunc.fixturenames:
        isolation = metafunc.module.__name__.endswith(("test_isolation", "test_network"))
        names = [*NAMES, *(VARIANTS if isolation else ())]
        # Instances take most of the suite's time: `make test-fast` asks one driver what it answers, and no more.
        answers = metafunc.module.__name__.endswith("test_answers")
        marks = {name: () if answers and name == "process" else (pytest.mark.slow,) for name in names}
        metafunc.parametrize("driver_name", [pytest.param(name, marks=marks[name]) for name in names], indirect=True)


@pytest.fixture
def driver_name(request: pytest.FixtureRequest) -> str:
    """Which driver is under contract."""
    return str(request.param)


@pytest.fixture
def make_driver(request: pytest.FixtureRequest, driver_name: str, folders: Path) -> MakeDriver:
    """Makes a driver, always of the same data directory."""
    if driver_name == DOCKER:
        address = request.getfixturevalue("functions_engine").url
        return lambda policy=PUBLIC_ONLY: docker_driver(folders / driver_name, address, policy)
    make = {**DRIVERS, **VARIANTS}[driver_name]
    return lambda policy=PUBLIC_ONLY: make(folders / driver_name, folders / f"{driver_name}-run", policy)


@pytest.fixture
async def world(driver_name: str, make_driver: MakeDriver, folders: Path) -> AsyncIterator[World]:
    """An open driver. What it leaves behind fails the test."""
    driver = make_driver()
    try:
        await driver.open()
    except DriverUnavailable as error:
        pytest.skip(f"{driver_name}: {error}")
    yield World(driver)
    await driver.close()
    left = list((folders / driver_name).glob("runtime/*/instances/*"))
    assert not left


@pytest.fixture
def needs(world: World) -> Callable[[Promise], None]:
    """Skips a test of a promise that the driver does not make here."""

    def check(*promises: Promise) -> None:
        if not world.driver.promises.intersection(promises):
            pytest.skip(f"{world.driver.name} does not promise: {', '.join(promises)}")

    return check
