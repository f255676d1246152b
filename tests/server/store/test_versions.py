from __future__ import annotations

import pytest_asyncio

from clowdy.server.store import functions, projects, versions
from clowdy.server.store.engine import Store
from clowdy.server.store.projects import Project
from clowdy.server.store.versions import Version

P = "aaaaaaaaaaaa"


@pytest_asyncio.fixture(autouse=True)
async def project(store: Store) -> None:
    async with store.writing() as connection:
        await projects.add(connection, Project(P, "shop", "shop", "", "ana", None, (), 1.0))


async def test_a_name_that_comes_back_keeps_its_id(store: Store) -> None:
    async with store.writing() as connection:
        first = await functions.ensure(connection, P, "hello", "111111111111", 1.0)
        again = await functions.ensure(connection, P, "hello", "222222222222", 2.0)
        other = await functions.ensure(connection, P, "other", "333333333333", 3.0)

        assert first == again
        assert first.last_version == 0
        assert await functions.every(connection, P) == [other, first]
        assert await functions.find(connection, "222222222222") is None


async def test_a_version_is_found_by_its_content_and_counts(store: Store) -> None:
    async with store.writing() as connection:
        hello = await functions.ensure(connection, P, "hello", "111111111111", 1.0)
        for number in (1, 2):
            await versions.add(connection, Version(hello.id, number, str(number) * 64, "c" * 40, 1.0))
        # As when records are made anew from git, oldest last.
        await versions.add(connection, Version(hello.id, 1, "1" * 64, "c" * 40, 9.0))

        found = await versions.by_digest(connection, hello.id, "1" * 64)
        assert found == Version(hello.id, 1, "1" * 64, "c" * 40, 1.0)
        assert await versions.by_digest(connection, hello.id, "9" * 64) is None
        assert [version.number for version in await versions.every(connection, P)] == [2, 1]
        counted = await functions.find(connection, hello.id)
        assert counted is not None
        assert counted.last_version == 2
