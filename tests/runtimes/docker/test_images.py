"""Which images a server has, and which it gives up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clowdy.runtimes.docker.archive import pack
from clowdy.runtimes.docker.engine import Engine
from clowdy.runtimes.docker.images import Images
from tests.engine import PrivateEngine

pytestmark = pytest.mark.slow

LOCK = "5e" * 32
"""Of no other test: all share one engine."""


@pytest.fixture
async def asked(functions_engine: PrivateEngine) -> AsyncIterator[Engine]:
    engine = Engine(functions_engine.url)
    await engine.open()
    yield engine
    await engine.close()


async def tags(engine: Engine, server: str) -> list[str]:
    found = await engine.ask(lambda client: client.images(name=f"clowdy-{server}"))
    return sorted(name.partition(":")[2] for image in found for name in image["RepoTags"] or ())


async def install(engine: Engine, images: Images) -> None:
    """A packages image with nothing in it."""
    container = await engine.ask(lambda client: client.create_container(images.base.root, ["python3"])["Id"])
    await images.keep(container, LOCK)
    await engine.ask(lambda client: client.remove_container(container))


async def test_an_image_goes_with_the_last_server_that_has_it(asked: Engine, tmp_path: Path) -> None:
    one, other = Images(asked, "one", tmp_path / "1"), Images(asked, "other", tmp_path / "2")
    await one.open()
    await install(asked, one)
    image = await one.of(LOCK)
    await other.open()
    assert await other.of(LOCK) == image
    await one.remove(LOCK)
    assert LOCK not in one.packages
    assert await other.of(LOCK) == image
    assert await asked.ask(lambda client: client.inspect_image(image))
    await other.remove(LOCK)
    assert not [tag for tag in await tags(asked, "other") if tag.startswith("packages")]
    assert image not in [each["Id"] for each in await asked.ask(lambda client: client.images(all=True))]


async def test_what_an_earlier_runner_ran_in_is_given_up_and_packages_are_not_built_again(
    asked: Engine, tmp_path: Path
) -> None:
    earlier = Images(asked, "upgraded", tmp_path)
    earlier._runner = pack({"runner": 0o755}, {"runner/earlier.py": (0o444, b"")})
    await earlier.open()
    await install(asked, earlier)
    old = [await earlier.of(None), await earlier.of(LOCK)]
    images = Images(asked, "upgraded", tmp_path)
    await images.open()
    assert images.packages[LOCK] == earlier.packages[LOCK]
    new = [await images.of(None), await images.of(LOCK)]
    assert not set(old) & set(new)
    before = await tags(asked, "upgraded")
    await images.tidy()
    after = await tags(asked, "upgraded")
    assert len([tag for tag in before if tag.startswith("functions")]) == 4
    assert len([tag for tag in after if tag.startswith("functions")]) == 2
    assert [tag for tag in before if not tag.startswith("functions")] == [
        tag for tag in after if not tag.startswith("functions")
    ]
    assert [await images.of(None), await images.of(LOCK)] == new
    await images.remove(LOCK)
