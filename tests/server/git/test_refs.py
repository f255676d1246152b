"""Refs as git moves them, and as they are read beside it."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import replace

import pytest

from clowdy.server.errors import Conflict, GitError, Invalid
from clowdy.server.git.refnames import is_ref
from clowdy.server.git.refs import RefUpdate, transaction
from clowdy.server.git.repos import Repository

MAIN = "refs/heads/main"
LIVE = "refs/heads/live"


def a_commit(repository: Repository, text: str, *parents: str) -> str:
    return repository.write_commit({"f": text.encode()}, parents, f"{text}\n", "ana", 1.0)


async def test_every_ref_of_a_transaction_moves(repository: Repository) -> None:
    first, second = a_commit(repository, "1"), a_commit(repository, "2")
    await transaction(repository, [RefUpdate(MAIN, None, first), RefUpdate(LIVE, None, first)])
    await transaction(repository, [RefUpdate(MAIN, first, second), RefUpdate(LIVE, first, None)])
    assert repository.refs() == {MAIN: second}


@pytest.mark.parametrize("old", [None, "other"])
async def test_a_ref_that_moved_is_named_and_nothing_moves(repository: Repository, old: str | None) -> None:
    first, second = a_commit(repository, "1"), a_commit(repository, "2")
    await transaction(repository, [RefUpdate(MAIN, None, first)])
    expected = second if old else None
    with pytest.raises(Conflict, match="refs/heads/main moved meanwhile"):
        await transaction(repository, [RefUpdate(LIVE, None, first), RefUpdate(MAIN, expected, second)])
    assert repository.refs() == {MAIN: first}


async def test_a_ref_that_is_gone_is_a_conflict(repository: Repository) -> None:
    first, second = a_commit(repository, "1"), a_commit(repository, "2")
    with pytest.raises(Conflict, match=MAIN):
        await transaction(repository, [RefUpdate(MAIN, first, second)])


async def test_a_locked_ref_is_a_conflict(repository: Repository) -> None:
    first = a_commit(repository, "1")
    (repository.path / f"{MAIN}.lock").touch()
    with pytest.raises(Conflict, match=MAIN):
        await transaction(repository, [RefUpdate(MAIN, None, first)])


async def test_a_missing_object_is_git_s_error(repository: Repository) -> None:
    with pytest.raises(GitError):
        await transaction(repository, [RefUpdate(MAIN, None, "ab" * 20)])


async def test_a_branch_below_a_branch_is_told_with_the_one_in_its_way(repository: Repository) -> None:
    first = a_commit(repository, "1")
    await transaction(repository, [RefUpdate(MAIN, None, first)])
    with pytest.raises(Conflict, match=f"{MAIN}/x cannot stand beside {MAIN}: one name is a folder of the other"):
        await transaction(repository, [RefUpdate(f"{MAIN}/x", None, first)])
    with pytest.raises(Conflict, match="refs/heads/a/b cannot stand beside refs/heads/a: "):
        await transaction(
            repository, [RefUpdate("refs/heads/a/b", None, first), RefUpdate("refs/heads/a", None, first)]
        )


@pytest.mark.parametrize(
    "update",
    [
        RefUpdate("main", None, "ab" * 20),
        RefUpdate("refs/heads/a\0b", None, "ab" * 20),
        RefUpdate("refs/heads/a\nb", None, "ab" * 20),
        RefUpdate("--stdin", None, "ab" * 20),
        RefUpdate(MAIN, None, "main"),
        RefUpdate(MAIN, "", "ab" * 20),
        RefUpdate(MAIN, None, None),
    ],
)
async def test_what_is_no_ref_or_id_never_reaches_git(repository: Repository, update: RefUpdate) -> None:
    with pytest.raises(Invalid):
        await transaction(repository, [update])


async def test_the_last_ref_is_the_commit_point(repository: Repository) -> None:
    """git renames one ref after the other, in the order given."""
    first = a_commit(repository, "1")
    names = ["refs/tags/z", MAIN, "refs/heads/a", "refs/clowdy/live"]
    await transaction(repository, [RefUpdate(name, None, first) for name in names])
    moments = {name: (repository.path / name).stat().st_ctime_ns for name in names}
    assert sorted(names, key=moments.__getitem__) == names


async def test_the_data_lock_is_inherited(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> None:
    first = a_commit(repository, "1")
    with (tmp_path_factory.mktemp("lock") / "lock").open("w") as lock:
        script = repository.path / "git"
        script.write_text(f"#!/bin/sh\nreadlink /proc/$$/fd/{lock.fileno()} >{repository.path}/seen\ncat >/dev/null\n")
        script.chmod(0o755)
        repository.settings = replace(repository.settings, git=str(script), lock_fd=lock.fileno())
        await transaction(repository, [RefUpdate(MAIN, None, first)])
        assert (repository.path / "seen").read_text().strip() == lock.name


async def test_packed_refs_are_read_and_a_loose_one_wins(repository: Repository) -> None:
    first, second = a_commit(repository, "1"), a_commit(repository, "2")
    await transaction(repository, [RefUpdate(MAIN, None, first), RefUpdate("refs/tags/v1", None, first)])
    subprocess.run(["git", "--git-dir", str(repository.path), "pack-refs", "--all"], check=True)
    assert not (repository.path / MAIN).exists()
    assert repository.ref(MAIN) == first
    await transaction(repository, [RefUpdate(MAIN, first, second)])
    assert repository.refs() == {MAIN: second, "refs/tags/v1": first}
    assert repository.refs("refs/tags/") == {"refs/tags/v1": first}
    assert repository.refs("refs/tags/v") == {"refs/tags/v1": first}


async def test_two_transactions_at_once_have_one_winner(repository: Repository) -> None:
    commits = [a_commit(repository, str(number)) for number in range(4)]
    done = await asyncio.gather(
        *(transaction(repository, [RefUpdate(MAIN, None, commit)]) for commit in commits), return_exceptions=True
    )
    assert sorted(str(type(each).__name__) for each in done) == ["Moved"] * 3 + ["NoneType"]


@pytest.mark.parametrize(
    "name", ["refs/../config", "refs/heads/../../HEAD", "HEAD", "", "refs/heads/", "refs/heads/\0"]
)
def test_what_is_no_ref_name_is_no_ref(repository: Repository, name: str) -> None:
    assert repository.ref(name) is None


def test_ref_names_are_judged_as_git_does() -> None:
    names = [
        "refs/heads/main",
        "refs/heads/a/b",
        "refs/x",
        "refs/heads/@",
        "refs/heads/a.b",
        "refs/heads/ünï",
        "refs/heads/-x",
        "refs/heads/.a",
        "refs/heads/a..b",
        "refs/heads/a.lock",
        "refs/heads/a.lock/b",
        "refs/heads/a.",
        "refs/heads/a./b",
        "refs/heads/a b",
        "refs/heads/a~1",
        "refs/heads/a^",
        "refs/heads/a:b",
        "refs/heads/a?",
        "refs/heads/a*",
        "refs/heads/a[",
        "refs/heads/a\\b",
        "refs/heads/a@{1}",
        "refs/heads//a",
        "refs/heads/a/",
        "refs/heads/a\x7f",
    ]
    for name in names:
        git = subprocess.run(["git", "check-ref-format", name], check=False).returncode == 0
        assert is_ref(name) is git, name
