"""What a requirements layer is to a function: importable, not to be changed, and its own alone."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clowdy.runtimes.api import DriverUnavailable, Instance, Kind, Promise
from clowdy.schema.manifest import Network
from tests.contracts.layers import install
from tests.contracts.world import World, application, ask

DIGEST = "ab" * 32
OTHER = "cd" * 32


@pytest.fixture
async def layer(world: World, folders: Path) -> None:
    """Two layers as a build leaves them."""
    for digest, greeting in ((DIGEST, "hello"), (OTHER, "goodbye")):
        files = {
            "greeting/__init__.py": f"WORD = {greeting!r}",
            "json/__init__.py": "raise ImportError('a backport took the place of the standard library')",
            "greeting-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.2\n",
        }
        await install(world.driver, folders / world.driver.name, digest, files)


async def serve(world: World, source: str | dict[str, str | bytes], digest: str | None = DIGEST) -> Instance:
    instance, _ = await world.take(replace(application(source), layer=digest))
    return instance


async def test_packages_are_imported_from_the_layer(world: World, layer: None) -> None:
    instance = await serve(world, "import greeting\ndef handler(e): return [greeting.WORD, greeting.__file__]")
    word, file = (await ask(instance)).json
    assert word == "hello"
    assert file.endswith("/greeting/__init__.py")
    assert instance.kind == Kind(DIGEST, Network.OFF)


async def test_what_is_known_of_a_package_is_known_to_the_function(world: World, layer: None) -> None:
    source = "from importlib.metadata import version\ndef handler(e): return version('greeting')"
    assert (await ask(await serve(world, source))).json == "1.2"


async def test_each_instance_has_its_own_layer_or_none(world: World, layer: None) -> None:
    source = """
        import importlib.util
        def handler(e):
            if importlib.util.find_spec("greeting") is None:
                return None
            import greeting
            return greeting.WORD
    """
    words = [(await ask(await serve(world, source, digest))).json for digest in (DIGEST, OTHER, None)]
    assert words == ["hello", "goodbye", None]


async def test_the_functions_own_files_come_before_packages_and_python_before_both_backports(
    world: World, layer: None
) -> None:
    assert importlib.util.find_spec("greeting") is None
    instance = await serve(
        world,
        {
            "functions/hello.py": "import greeting, json\ndef handler(e): return [greeting.WORD, json.loads('1')]",
            "greeting.py": "WORD = 'mine'",
        },
    )
    assert (await ask(instance)).json == ["mine", 1]


async def test_a_layer_cannot_be_changed_by_a_function(world: World, layer: None, needs: Callable[..., None]) -> None:
    needs(Promise.READ_ONLY)
    source = """
        import os
        import greeting
        def handler(e):
            folder = os.path.dirname(greeting.__file__)
            failed = []
            for act in (lambda: open(folder + "/new.py", "w"), lambda: os.remove(greeting.__file__),
                        lambda: os.chmod(folder, 0o777), lambda: os.listdir(os.path.dirname(folder) + "/..")):
                try:
                    failed.append(bool(act()))
                except OSError as error:
                    failed.append(type(error).__name__)
            return failed[:3]
    """
    said = (await ask(await serve(world, source))).json
    assert True not in said
    source = (
        "import greeting, os\ndef handler(e): return [greeting.WORD, os.listdir(os.path.dirname(greeting.__file__))]"
    )
    word, there = (await ask(await serve(world, source))).json
    assert word == "hello"
    assert "new.py" not in there


async def test_a_layer_that_is_not_there_is_named(world: World) -> None:
    with pytest.raises(DriverUnavailable, match="eeeeeeeeeeee is not there"):
        await world.driver.start(Kind("ee" * 32, Network.OFF))


async def test_a_plain_instance_starts_while_one_with_a_layer_does(world: World, layer: None) -> None:
    plain = await world.serve("def handler(e): return 'plain'")
    layered = await serve(world, "import greeting\ndef handler(e): return greeting.WORD")
    again = await world.serve("def handler(e): return 'again'")
    assert [(await ask(each)).json for each in (plain, layered, again)] == ["plain", "hello", "again"]
