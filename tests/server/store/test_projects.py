from __future__ import annotations

from dataclasses import replace

import pytest

from clowdy.server.errors import Conflict
from clowdy.server.store import functions, history, projects, pushes, releases, secrets, tokens, versions
from clowdy.server.store.engine import Store
from clowdy.server.store.functions import Function
from clowdy.server.store.projects import Project
from clowdy.server.store.secrets import Secret
from clowdy.server.store.tokens import Token
from clowdy.server.store.versions import Version
from tests.server.store.rows import make_entry, make_push, make_release

SHOP = Project("aaaaaaaaaaaa", "shop", "The Shop", "sells", "ana", "refs/heads/main", ("old", "older"), 1.0)
BLOG = Project("bbbbbbbbbbbb", "blog", "blog", "", "ben", None, (), 2.0)


async def add(store: Store, *wanted: Project) -> None:
    async with store.writing() as connection:
        for project in wanted:
            await projects.add(connection, project)


async def find(store: Store, ref: str, *, deleted: bool = False) -> Project | None:
    async with store.reading() as connection:
        return await projects.find(connection, ref, deleted=deleted)


@pytest.mark.parametrize("ref", ["aaaaaaaaaaaa", "shop", "old", "older"])
async def test_a_project_comes_back_whole_by_id_name_and_old_names(store: Store, ref: str) -> None:
    await add(store, SHOP, BLOG)

    assert await find(store, ref) == SHOP


async def test_a_name_wins_over_an_alias_and_an_id_over_both(store: Store) -> None:
    named_as_alias = replace(BLOG, name="old")
    named_as_id = replace(BLOG, id="cccccccccccc", name="aaaaaaaaaaaa")
    await add(store, SHOP, named_as_alias, named_as_id)

    assert await find(store, "old") == named_as_alias
    assert await find(store, "aaaaaaaaaaaa") == SHOP


async def test_a_taken_name_or_id_is_a_conflict(store: Store) -> None:
    await add(store, SHOP)

    for other in (replace(BLOG, name="shop"), replace(BLOG, id=SHOP.id)):
        with pytest.raises(Conflict, match="exists already"):
            await add(store, other)


async def test_saving_writes_the_whole_row_and_a_taken_name_is_a_conflict(store: Store) -> None:
    await add(store, SHOP, BLOG)
    changed = replace(SHOP, name="store", aliases=("shop", "old"), owner="ben")
    async with store.writing() as connection:
        await projects.save(connection, changed)

    assert await find(store, "shop") == changed
    assert await find(store, "older") is None
    with pytest.raises(Conflict, match="a project named blog exists already"):
        async with store.writing() as connection:
            await projects.save(connection, replace(SHOP, name="blog"))


async def test_an_alias_is_lost_to_the_project_that_takes_it(store: Store) -> None:
    await add(store, SHOP)
    async with store.writing() as connection:
        await projects.take_alias(connection, "old")
        await projects.add(connection, replace(BLOG, name="old"))

    found = await find(store, "shop")
    assert found is not None
    assert found.aliases == ("older",)


async def test_a_deleted_project_keeps_its_name_for_itself_and_leaves_it_to_others(store: Store) -> None:
    gone = replace(SHOP, deleted_at=5.0)
    await add(store, replace(gone, id="cccccccccccc", aliases=(), deleted_at=3.0), gone, replace(BLOG, name="shop"))

    found = await find(store, "shop")
    assert found is not None
    assert found.id == BLOG.id
    assert await find(store, "shop", deleted=True) == gone
    assert await find(store, "old") is None
    async with store.reading() as connection:
        assert [project.id for project in await projects.every(connection)] == [BLOG.id]
        assert len(await projects.every(connection, deleted=True)) == 2


async def test_every_project_newest_first(store: Store) -> None:
    await add(store, SHOP, BLOG)

    async with store.reading() as connection:
        assert await projects.every(connection) == [BLOG, SHOP]


async def test_a_removed_project_takes_everything_of_it_along_and_nothing_of_others(store: Store) -> None:
    await add(store, SHOP, BLOG)
    async with store.writing() as connection:
        for project in (SHOP, BLOG):
            function = Function(project.id[:6] + "ffffff", project.id, "hello", 0, 1.0)
            await functions.save(connection, function)
            await versions.add(connection, Version(function.id, 1, "d" * 64, "c" * 40, 1.0))
            await releases.add(connection, make_release(project.id, 1))
            await history.add(connection, make_entry(project.id, 1))
            await pushes.add(connection, make_push(project.id[:6] + "eeeeee", project.id))
            await secrets.put(connection, Secret(project.id, "KEY", b"sealed", 1.0, "ana"))
            await tokens.add(connection, Token(project.id[:6] + "dddddd", "d" * 64, "ci", "read", project.id, 1.0))

        await projects.remove(connection, SHOP.id)

    async with store.reading() as connection:
        for project, count in ((SHOP, 0), (BLOG, 1)):
            assert len(await functions.every(connection, project.id)) == count
            assert len(await versions.every(connection, project.id)) == count
            assert len(await releases.every(connection, project.id)) == count
            assert len(await history.every(connection, project.id)) == count
            assert len(await pushes.every(connection, project.id)) == count
            assert len(await secrets.every(connection, project.id)) == count
        assert [token.project_id for token in await tokens.every(connection)] == [BLOG.id]
