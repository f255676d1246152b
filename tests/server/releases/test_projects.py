from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from clowdy.server.errors import Conflict, Invalid, NotFound
from clowdy.server.releases.projects import KEPT_SECONDS, RECORD, read_record
from clowdy.server.store import projects

from .world import World


async def test_two_first_pushes_make_one_project(made: World) -> None:
    desk = made.releases.projects
    pending, same = desk.reserve("new", "ana"), desk.reserve("new", "bob")
    assert pending is same
    settled = await asyncio.gather(desk.settle(pending), desk.settle(same))
    assert [project.id for project, _ in settled] == [pending.id] * 2
    assert sorted(is_new for _, is_new in settled) == [False, True]
    await desk.abandon(pending)
    await desk.abandon(same)
    assert made.context.repositories.exists(pending.id)


async def test_a_first_push_that_brings_nothing_leaves_nothing(made: World) -> None:
    pending = made.releases.projects.reserve("new", "ana")
    await made.releases.projects.abandon(pending)
    assert not made.context.repositories.exists(pending.id)
    with pytest.raises(NotFound):
        await made.releases.projects.find("new")


@pytest.mark.parametrize("name", ["www", "a", "Shop", "a_b", "-a", "a-", "x" * 41, "1a", "../x", "a\n"])
async def test_bad_names_are_refused(made: World, name: str) -> None:
    with pytest.raises(Invalid):
        made.releases.projects.reserve(name, "ana")


async def test_a_name_that_is_taken_leaves_no_second_repository(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody(*_: object, **__: object) -> None:
        return None

    with pytest.raises(Conflict):
        await made.releases.projects.create("shop", "bob")
    repositories = made.context.repositories.every()
    monkeypatch.setattr(projects, "find", nobody)
    with pytest.raises(Conflict):
        await made.releases.projects.create("shop", "bob")
    assert made.context.repositories.every() == repositories


async def test_a_rename_that_comes_too_late_leaves_the_record_as_it_was(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await made.project()
    await made.releases.projects.create("store", "bob")
    find = projects.find

    async def blind(connection: object, ref: str, **more: bool) -> object:
        return None if ref == "store" else await find(connection, ref, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(projects, "find", blind)
    before = (await made.repository()).ref(RECORD)
    with pytest.raises(Conflict):
        await made.releases.projects.rename(shop, "store", "ana")
    assert (await made.repository()).ref(RECORD) == before


async def test_an_old_name_is_an_alias_until_another_project_takes_it(made: World) -> None:
    shop = await made.project()
    store = await made.releases.projects.rename(shop, "store", "ana")
    assert (await made.project("shop")).id == shop.id
    other = await made.releases.projects.create("shop", "bob")
    assert (await made.project("shop")).id == other.id
    assert (await made.project("store")).aliases == ()
    assert read_record(made.context.repositories.open(store.id), None).aliases == ()


async def test_a_change_of_words_loses_nothing_that_came_meanwhile(made: World) -> None:
    stale = await made.project()
    await made.deploy("one")
    changed = await made.releases.projects.describe(stale, "ana", display_name="The shop", description="All of it")
    assert changed == replace(await made.project(), display_name="The shop", description="All of it")
    assert changed.deploy_branch == "refs/heads/main"


async def test_a_deleted_project_serves_nothing_and_comes_back_whole(made: World) -> None:
    await made.deploy("one")
    project = await made.project()
    await made.releases.projects.delete(project, "ana")
    assert made.table == {}
    record = json.loads(
        made.context.repositories.open(project.id).read_blob(
            made.context.repositories.open(project.id).ref(RECORD) or ""
        )
    )
    assert record["deleted_at"] == made.clock()
    with pytest.raises(NotFound):
        await made.project()
    await made.releases.restored(await made.releases.projects.restore("shop", "ana"))
    assert made.table[project.id].number == 1
    assert (await made.project()).deleted_at is None


async def test_a_deleted_project_goes_for_good_after_thirty_days(made: World) -> None:
    project = await made.project()
    await made.releases.projects.delete(project, "ana")
    made.clock.forward(KEPT_SECONDS - 1)
    assert await made.releases.projects.purge() == []
    made.clock.forward(2)
    assert [gone.id for gone in await made.releases.projects.purge()] == [project.id]
    assert not made.context.repositories.exists(project.id)
