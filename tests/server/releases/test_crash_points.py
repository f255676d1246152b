"""A change that is cut off after any of its steps is found whole at the next start: the old release or the new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from clowdy.server.errors import Invalid
from clowdy.server.git.refs import RefUpdate, transaction
from clowdy.server.git.repos import Repository
from clowdy.server.releases import activate
from clowdy.server.releases.history import REF as HISTORY
from clowdy.server.releases.history import read_chain
from clowdy.server.releases.locks import REF as LOCKS
from clowdy.server.releases.locks import find_lock
from clowdy.server.releases.settle import SERVES
from clowdy.server.store import functions, history, projects, pushes, releases
from clowdy.server.store.releases import State

from .world import World, files, world

pytestmark = pytest.mark.slow

MAIN, LIVE = "refs/heads/main", "refs/heads/live"


class Killed(Exception):
    """The process ended here: nothing that it would have done after has happened."""


def kill_after(monkeypatch: pytest.MonkeyPatch, refs_moved: int | None) -> None:
    """Ends the process when so many refs have moved; None: before the transaction begins, when the row is written."""

    async def cut(repository: Repository, updates: Sequence[RefUpdate]) -> None:
        if refs_moved:
            await transaction(repository, updates[:refs_moved])
        raise Killed

    async def gone(*_: object) -> str:
        raise Killed

    monkeypatch.setattr(activate, "transaction", cut)
    monkeypatch.setattr(activate, "settle_release", gone)
    monkeypatch.setattr(activate, "settle_going_back", gone)


async def whole(made: World, *, number: int, commit: str, entries: int) -> None:
    """Refs, rows, history and the served table say the same."""
    project = await made.project()
    repository = await made.repository()
    serving = made.table[project.id]
    assert serving.number == number
    assert made.context.live[project.id] is serving
    assert repository.ref(LIVE) == serving.record.commit == commit
    assert repository.ref(SERVES) == repository.ref(f"refs/tags/deploy/{number}")
    chain = read_chain(repository, project.id)
    async with made.context.store.reading() as connection:
        rows = await releases.every(connection, project.id)
        kept = await history.every(connection, project.id)
        assert await releases.prepared(connection, project.id) == []
    assert [entry for entry, _ in chain] == kept[::-1]
    assert len(chain) == entries
    assert chain[-1][1] == repository.ref(SERVES)
    tags = repository.refs("refs/tags/deploy/")
    assert {f"refs/tags/deploy/{row.number}": row.tag for row in rows} == tags
    assert all(row.state is State.DONE for row in rows)


@pytest.mark.parametrize("refs_moved", [None, 1, 2, 3, 4, 5])
async def test_a_deploy_is_undone_before_its_tag_and_finished_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refs_moved: int | None
) -> None:
    async with world(tmp_path / "data") as made:
        await made.releases.projects.create("shop", "ana")
        first = await made.deploy("one")
        second = await made.commit(files("two"), (first,))
        kill_after(monkeypatch, refs_moved)
        (verdict,) = await made.push({MAIN: second})
        assert not verdict.accepted
    monkeypatch.undo()
    async with world(tmp_path / "data") as made:
        repository = await made.repository()
        if refs_moved is None:
            await whole(made, number=1, commit=first, entries=1)
            assert repository.ref(MAIN) == first
        else:
            await whole(made, number=2, commit=second, entries=2)
            assert repository.ref(MAIN) == second
        assert made.faults == []
        third = await made.deploy("three", (repository.ref(MAIN) or "",))
        await whole(made, number=2 if refs_moved is None else 3, commit=third, entries=2 if refs_moved is None else 3)


@pytest.mark.parametrize("refs_moved", [None, 1, 2, 3, 4, 5, 6])
async def test_a_deploy_with_a_new_lock_is_undone_or_finished_with_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refs_moved: int | None
) -> None:
    async with world(tmp_path / "data") as made:
        await made.releases.projects.create("shop", "ana")
        first = await made.commit(files("one", more="requirements: [numpy]\n"))
        (verdict,) = await made.push({MAIN: first})
        assert verdict.accepted, made.said
        kept = (await made.repository()).ref(LOCKS)
        second = await made.commit(files("two", more="requirements: [httpx]\n"), (first,))
        with monkeypatch.context() as killing:
            kill_after(killing, refs_moved)
            (verdict,) = await made.push({MAIN: second})
        assert not verdict.accepted
    async with world(tmp_path / "data") as made:
        repository = await made.repository()
        done = refs_moved is not None
        await whole(made, number=2 if done else 1, commit=second if done else first, entries=2 if done else 1)
        record = made.table[(await made.project()).id].record
        assert record.lock is not None
        lock = find_lock(repository, record.lock, "3.11", "memory")
        assert lock is not None
        assert list(lock.versions) == (["h11", "httpx"] if done else ["numpy"])
        assert (repository.ref(LOCKS) != kept) is done
        assert made.faults == []


@pytest.mark.parametrize("refs_moved", [None, 1, 2, 3, 4, 5])
async def test_the_first_deploy_of_a_project_is_undone_or_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refs_moved: int | None
) -> None:
    async with world(tmp_path / "data") as made:
        await made.releases.projects.create("shop", "ana")
        commit = await made.commit(files("one"))
        kill_after(monkeypatch, refs_moved)
        (verdict,) = await made.push({"refs/heads/trunk": commit})
        assert not verdict.accepted
    monkeypatch.undo()
    async with world(tmp_path / "data") as made:
        project = await made.project()
        repository = await made.repository()
        if refs_moved is None:
            assert made.table == {}
            assert project.deploy_branch is None
            assert repository.refs("refs/tags/") == {}
            (verdict,) = await made.push({"refs/heads/trunk": commit})
            assert verdict.accepted
        else:
            assert project.deploy_branch == "refs/heads/trunk"
        await whole(made, number=1, commit=commit, entries=1)
        assert repository.head() == "refs/heads/trunk"


@pytest.mark.parametrize("refs_moved", [None, 1, 2, 3])
async def test_a_rollback_is_undone_before_its_commit_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refs_moved: int | None
) -> None:
    async with world(tmp_path / "data") as made:
        project = await made.releases.projects.create("shop", "ana")
        first = await made.deploy("one")
        second = await made.deploy("two", (first,))
        kill_after(monkeypatch, refs_moved)
        with pytest.raises(Killed):
            await made.releases.rollback(project, "deploy/1", "ana")
    monkeypatch.undo()
    async with world(tmp_path / "data") as made:
        if refs_moved == 3:
            await whole(made, number=1, commit=first, entries=3)
        else:
            await whole(made, number=2, commit=second, entries=2)


@pytest.mark.parametrize(("refs_moved", "state", "number"), [(None, "interrupted", None), (3, "live", 2)])
async def test_the_push_of_what_is_finished_later_is_live_in_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refs_moved: int | None, state: str, number: int | None
) -> None:
    async with world(tmp_path / "data") as made:
        project = await made.releases.projects.create("shop", "ana")
        first = await made.deploy("one")
        kill_after(monkeypatch, refs_moved)
        made.clock.forward(1)
        await made.push({MAIN: await made.commit(files("two"), (first,))})
        async with made.context.store.writing() as connection:
            # A server that was killed writes nothing more.
            (cut, _) = await pushes.every(connection, project.id)
            await pushes.save(connection, replace(cut, state=pushes.State.RUNNING, reason="", ended_at=None))
    monkeypatch.undo()
    async with world(tmp_path / "data") as made, made.context.store.reading() as connection:
        (again, _) = await pushes.every(connection, project.id)
        assert (again.state, again.release) == (state, number)


async def test_what_was_served_before_the_database_heard_of_it_is_read_from_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(*_: object, **__: object) -> None:
        raise OSError("disk full")

    async with world(tmp_path / "data") as made:
        project = await made.releases.projects.create("shop", "ana")
        first = await made.deploy("one")
        monkeypatch.setattr(activate.history, "add", deaf)
        second = await made.deploy("two", (first,))
        assert "behind its refs" in made.faults[0]
        assert made.table[project.id].number == 2
        await made.releases.rollback(project, "deploy/1", "ana")
        monkeypatch.undo()
        third = await made.deploy("three", (second,))
        assert made.table[project.id].number == 3
    async with world(tmp_path / "data") as made:
        await whole(made, number=3, commit=third, entries=4)


async def test_a_transaction_that_breaks_off_is_finished_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(repository: Repository, updates: Sequence[RefUpdate]) -> None:
        await transaction(repository, updates[:3])
        raise activate.Conflict("disk full")

    async with world(tmp_path / "data") as made:
        await made.releases.projects.create("shop", "ana")
        first = await made.deploy("one")
        monkeypatch.setattr(activate, "transaction", broken)
        second = await made.deploy("two", (first,))
        monkeypatch.undo()
        await whole(made, number=2, commit=second, entries=2)


@pytest.mark.parametrize("refs_moved", [0, 1, 2])
async def test_going_back_that_breaks_off_is_undone_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refs_moved: int
) -> None:
    async def broken(repository: Repository, updates: Sequence[RefUpdate]) -> None:
        if refs_moved:
            await transaction(repository, updates[:refs_moved])
        raise activate.Conflict("disk full")

    async with world(tmp_path / "data") as made:
        project = await made.releases.projects.create("shop", "ana")
        first = await made.deploy("one")
        second = await made.deploy("two", (first,))
        monkeypatch.setattr(activate, "transaction", broken)
        with pytest.raises(activate.Conflict, match="disk full"):
            await made.releases.rollback(project, "deploy/1", "ana")
        monkeypatch.undo()
        await whole(made, number=2, commit=second, entries=2)
        await made.releases.rollback(project, "deploy/1", "ana")
        await whole(made, number=1, commit=first, entries=3)


async def test_a_conflict_undoes_everything_and_the_next_push_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def conflict(repository: Repository, updates: Sequence[RefUpdate]) -> None:
        raise activate.Conflict("refs/heads/main moved meanwhile")

    async with world(tmp_path / "data") as made:
        await made.releases.projects.create("shop", "ana")
        first = await made.deploy("one")
        second = await made.commit(files("two"), (first,))
        monkeypatch.setattr(activate, "transaction", conflict)
        (verdict,) = await made.push({MAIN: second})
        assert (verdict.accepted, verdict.reason) == (False, "refs/heads/main moved meanwhile")
        monkeypatch.undo()
        await whole(made, number=1, commit=first, entries=1)
        third = await made.deploy("three", (first,))
        await whole(made, number=2, commit=third, entries=2)


async def test_a_repository_restored_by_hand_is_deployed_again(tmp_path: Path) -> None:
    async with world(tmp_path / "data") as made:
        await made.releases.projects.create("shop", "ana")
        first = await made.deploy("one")
        second = await made.commit(files("two"), (first,))
        await transaction(await made.repository(), [RefUpdate(MAIN, first, second)])
    async with world(tmp_path / "data") as made:
        project = await made.project()
        assert made.table[project.id].number == 1
        while made.releases._background:
            for task in list(made.releases._background):
                await task
        await whole(made, number=2, commit=second, entries=2)


async def test_a_release_that_cannot_be_read_stops_neither_the_start_nor_the_next_push(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path / "data") as made:
        project = await made.releases.projects.create("shop", "ana")
        other = await made.releases.projects.create("other", "ana")
        first = await made.deploy("one")
        await made.deploy("one", name="other")
    parse = "clowdy.server.releases.load.read_manifest"

    def unreadable(repository: Repository, commit: str) -> None:
        if repository.path.name.startswith(project.id):
            raise Invalid("clowdy.yaml cannot be read by this version of the server")

    from clowdy.server.releases import load

    readable = load.read_manifest
    monkeypatch.setattr(
        parse, lambda repository, commit: unreadable(repository, commit) or readable(repository, commit)
    )
    async with world(tmp_path / "data") as made:
        assert made.table[other.id].problems == {}
        serving = made.table[project.id]
        assert serving.applications == {}
        assert "cannot be read" in serving.problems["hello"]
        assert "deploy/1 of shop cannot be loaded" in made.faults[0]
        second = await made.deploy("two", (first,))
        await whole(made, number=2, commit=second, entries=2)


async def test_everything_is_rebuilt_from_git_alone(tmp_path: Path) -> None:
    async with world(tmp_path / "data") as made:
        shop = await made.releases.projects.create("shop", "ana", display_name="The shop")
        gone = await made.releases.projects.create("gone", "bob")
        first = await made.deploy("one")
        second = await made.deploy("two", (first,))
        await made.deploy("one", (second,))
        await made.deploy("one", name="gone")
        shop = await made.releases.projects.rename(shop, "store", "ana")
        await made.releases.projects.create("shop", "eve")
        await made.releases.rollback(shop, "deploy/2", "ana", "slow")
        await made.releases.projects.delete(gone, "bob")
        async with made.context.store.reading() as connection:
            before = [
                (await projects.every(connection), await projects.every(connection, deleted=True)),
                [(item.id, item.name, item.last_version) for item in await functions.every(connection, shop.id)],
                [(item.number, item.tag, item.record) for item in await releases.every(connection, shop.id)],
                await history.every(connection, shop.id),
            ]
    for file in (tmp_path / "data").glob("clowdy.db*"):
        file.unlink()
    async with world(tmp_path / "data") as made:
        assert made.table == {}
        await made.releases.rebuild()
        async with made.context.store.reading() as connection:
            after = [
                (await projects.every(connection), await projects.every(connection, deleted=True)),
                [(item.id, item.name, item.last_version) for item in await functions.every(connection, shop.id)],
                [(item.number, item.tag, item.record) for item in await releases.every(connection, shop.id)],
                await history.every(connection, shop.id),
            ]
        assert sorted(map(repr, after[0][0])) == sorted(map(repr, before[0][0]))
        assert after[0][1] == before[0][1]
        assert after[1:] == before[1:]
        assert made.table[shop.id].number == 2
        assert gone.id not in made.table


async def test_wrong_rows_are_mended_by_rebuilding(tmp_path: Path) -> None:
    async with world(tmp_path / "data") as made:
        project = await made.releases.projects.create("shop", "ana")
        first = await made.deploy("one")
        await made.deploy("two", (first,))
        async with made.context.store.reading() as connection:
            (function,) = await functions.every(connection, project.id)
            (newest, _) = await releases.every(connection, project.id)
        async with made.context.store.writing() as connection:
            await functions.save(connection, type(function)("f" * 12, project.id, "wrong", 9, 1.0))
            await releases.remove(connection, project.id, 1)
            await history.replace_all(connection, project.id, [])
        assert await made.releases.rebuild("shop") == [f"shop ({project.id}): 2 releases read from git"]
        async with made.context.store.reading() as connection:
            assert [item.id for item in await functions.every(connection, project.id)] == [function.id]
            assert [item.number for item in await releases.every(connection, project.id)] == [2, 1]
            assert (await releases.every(connection, project.id))[0] == newest
            assert await history.count(connection, project.id) == 2


def test_history_is_the_ref_that_the_chain_hangs_on() -> None:
    assert HISTORY == "refs/clowdy/history"
