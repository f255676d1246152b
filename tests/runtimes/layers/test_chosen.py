from __future__ import annotations

import pytest

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.layers.chosen import ChosenPackages
from clowdy.schema.locks import Wanted
from tests.runtimes.memory_packages import MemoryPackages

WANTED = Wanted(("httpx",))


class Choice:
    """The name of the driver in use."""

    name = "auto"


def ignore(_: str) -> None:
    return None


async def test_everything_is_asked_of_those_of_the_driver_in_use() -> None:
    sandbox, docker = MemoryPackages(), MemoryPackages(python="3.12", platform="image", index="1" * 64)
    choice = Choice()
    packages = ChosenPackages({"sandbox": sandbox, "docker": docker}, lambda: choice.name)
    for choice.name, chosen in (("sandbox", sandbox), ("docker", docker)):
        assert (packages.python, packages.platform, packages.index) == (chosen.python, chosen.platform, chosen.index)
        lock = await packages.resolve(WANTED, say=ignore)
        assert lock.python == chosen.python
        await packages.build(lock, ignore)
        assert packages.has(lock.digest)
        assert packages.sizes() == chosen.sizes() != {}
        await packages.remove([lock.digest])
        assert chosen.removed == [lock.digest]


async def test_as_long_as_none_is_in_use_nothing_is_found_and_nothing_goes() -> None:
    sandbox = MemoryPackages()
    await sandbox.build(lock := await sandbox.resolve(WANTED, say=ignore), ignore)
    packages = ChosenPackages({"sandbox": sandbox}, lambda: "auto")

    assert (packages.python, packages.has(lock.digest), dict(packages.sizes())) == ("", False, {})
    await packages.remove([lock.digest])
    assert sandbox.has(lock.digest)
    with pytest.raises(DriverUnavailable, match="auto"):
        await packages.resolve(WANTED, say=ignore)
    with pytest.raises(DriverUnavailable):
        await packages.build(lock, ignore)
