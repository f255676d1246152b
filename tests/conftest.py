from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.engine import PrivateEngine, make_base_image, start_or_skip


@pytest.fixture(scope="session")
def engine() -> Iterator[PrivateEngine]:
    """A Docker Engine that all tests of a worker share, and leave as it was."""
    engine = start_or_skip(PrivateEngine())
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def functions_engine(engine: PrivateEngine) -> PrivateEngine:
    """The same, with a base image made from this machine."""
    make_base_image(engine)
    return engine


@pytest.fixture
def start_engine() -> Iterator[Callable[..., PrivateEngine]]:
    """Starts Docker Engines for one test alone, with the arguments of PrivateEngine."""
    with ExitStack() as engines:

        def start(*arguments: str, data_size: str = "", way_out: bool = True) -> PrivateEngine:
            engine = start_or_skip(PrivateEngine(*arguments, data_size=data_size, way_out=way_out))
            engines.callback(engine.stop)
            return engine

        yield start
