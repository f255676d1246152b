from __future__ import annotations

from dataclasses import replace

import pytest
import pytest_asyncio

from clowdy.server.errors import Conflict
from clowdy.server.store import history, projects, pushes, releases
from clowdy.server.store.engine import Store
from clowdy.server.store.projects import Project
from clowdy.server.store.pushes import State as PushState
from clowdy.server.store.releases import State
from tests.server.store.rows import COMMIT, make_entry, make_push, make_release

P = "aaaaaaaaaaaa"


@pytest_asyncio.fixture(autouse=True)
async def project(store: Store) -> None:
    async with store.writing() as connection:
        await projects.add(connection, Project(P, "shop", "shop", "", "ana", None, (), 1.0))


async def test_a_release_comes_back_whole(store: Store) -> None:
    release = make_release(P, 1)
    async with store.writing() as connection:
        await releases.add(connection, release)

        assert await releases.find(connection, P, 1) == release
        assert await releases.find(connection, P, 2) is None


async def test_a_number_is_given_once(store: Store) -> None:
    async with store.writing() as connection:
        await releases.add(connection, make_release(P, 1))
        with pytest.raises(Conflict, match="release 1 exists already"):
            await releases.add(connection, make_release(P, 1))


async def test_what_was_prepared_is_known_until_it_is_done_or_removed(store: Store) -> None:
    first, second = (make_release(P, number, state=State.PREPARED) for number in (1, 2))
    async with store.writing() as connection:
        await releases.add(connection, first)
        await releases.add(connection, second)
        assert await releases.prepared(connection, P) == [first, second]
        assert await releases.last_number(connection, P) == 2

        await releases.save(connection, replace(first, state=State.DONE))
        await releases.remove(connection, P, 2)

        assert await releases.prepared(connection, P) == []
        assert await releases.last_number(connection, P) == 1
        assert await releases.last_number(connection, "bbbbbbbbbbbb") == 0


async def test_the_newest_release_of_a_commit_is_done_and_unpinned(store: Store) -> None:
    async with store.writing() as connection:
        for release in (
            make_release(P, 1),
            make_release(P, 2),
            make_release(P, 3, pinned=True),
            make_release(P, 4, state=State.PREPARED),
            make_release(P, 5, commit="b" * 40),
        ):
            await releases.add(connection, release)

        found = await releases.newest_of_commit(connection, P, COMMIT)
        assert found is not None
        assert found.number == 2
        assert await releases.newest_of_commit(connection, P, "0" * 40) is None
        assert [release.number for release in await releases.every(connection, P, 3)] == [5, 4, 3]


async def test_history_newest_first_and_written_anew(store: Store) -> None:
    async with store.writing() as connection:
        for sequence in (1, 2, 3):
            await history.add(connection, make_entry(P, sequence))
        assert [entry.sequence for entry in await history.every(connection, P, 2)] == [3, 2]
        assert await history.last(connection, P) == make_entry(P, 3)

        await history.replace_all(connection, P, [make_entry(P, 7)])
        assert await history.every(connection, P) == [make_entry(P, 7)]
        await history.replace_all(connection, P, [])
        assert await history.last(connection, P) is None


async def test_a_push_comes_back_whole_and_in_its_own_project(store: Store) -> None:
    push = make_push("eeeeeeeeeeee", P)
    async with store.writing() as connection:
        await pushes.add(connection, push)
        await pushes.save(connection, push)

        assert await pushes.find(connection, P, push.id) == push
        assert await pushes.find(connection, "bbbbbbbbbbbb", push.id) is None


async def test_what_was_running_when_the_server_ended_is_interrupted(store: Store) -> None:
    async with store.writing() as connection:
        await pushes.add(connection, make_push("111111111111", P, state=PushState.RUNNING, at=20.0))
        await pushes.add(connection, make_push("222222222222", P, at=10.0))

        assert await pushes.interrupt_running(connection) == 1

        assert [(push.state, push.reason) for push in await pushes.every(connection, P)] == [
            (PushState.INTERRUPTED, "the server stopped: push again"),
            (PushState.LIVE, ""),
        ]


async def test_pushes_by_what_came_of_them_and_by_their_release(store: Store) -> None:
    first = make_push("111111111111", P, at=10.0)
    again = make_push("222222222222", P, at=20.0)
    refused = make_push("333333333333", P, state=PushState.REFUSED, at=30.0)
    async with store.writing() as connection:
        for push in (first, again, replace(refused, release=None)):
            await pushes.add(connection, push)

        assert [push.id for push in await pushes.every(connection, P, 1)] == [refused.id]
        assert await pushes.every(connection, P, 1, states={PushState.LIVE}) == [again]
        assert await pushes.of_release(connection, P, 1) == first
        assert await pushes.of_release(connection, P, 2) is None
