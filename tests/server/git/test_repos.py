"""Repositories as the server reads and writes them, held against C git."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from clowdy.server.errors import GitError, Invalid, NotFound
from clowdy.server.git.objects import OPEN_AT_ONCE
from clowdy.server.git.repos import Repositories, Repository
from clowdy.server.git.settings import GitSettings

from .packs import commit, tree


def git(repository: Repository, *arguments: str, data: bytes = b"") -> str:
    done = subprocess.run(
        ["git", "--git-dir", str(repository.path), *arguments], input=data, capture_output=True, check=True
    )
    return done.stdout.decode().strip()


def test_a_new_repository_is_one_that_git_knows(repository: Repository) -> None:
    assert git(repository, "rev-parse", "--is-bare-repository") == "true"
    assert git(repository, "fsck", "--strict") == ""
    assert repository.head() == "refs/heads/main"
    repository.set_head("refs/heads/trunk")
    assert git(repository, "symbolic-ref", "HEAD") == "refs/heads/trunk"


@pytest.mark.parametrize("project_id", ["", "..", "../../etc", "0123456789AB", "0123456789ab/../x", "x" * 12])
def test_only_the_server_s_own_ids_name_a_folder(repositories: Repositories, project_id: str) -> None:
    for use in (repositories.path, repositories.create, repositories.open, repositories.remove, repositories.exists):
        with pytest.raises(NotFound):
            use(project_id)


def test_what_is_removed_is_gone_and_what_was_left_is_cleared(repositories: Repositories) -> None:
    repositories.create("0123456789ab")
    with pytest.raises(Invalid):
        repositories.create("0123456789ab")
    assert repositories.every() == ["0123456789ab"]
    repositories.remove("0123456789ab")
    assert repositories.every() == []
    with pytest.raises(NotFound):
        repositories.open("0123456789ab")
    left = repositories.path("0123456789ab").with_name(".new-0123456789ab")
    left.mkdir()
    repositories.clear()
    assert not left.exists()


def test_commits_and_tags_are_written_as_git_writes_them(repository: Repository) -> None:
    first = repository.write_commit({"b": b"2", "a": b"1"}, [], "Subject: ünï\n\nBody\n", "ana", 1700000000.5)
    second = repository.write_commit({"a": b"1"}, [first], "Next", "<evil>\n name", 1700000001.0)
    tag = repository.write_tag("deploy/1", first, "deploy/1: x\n\n{}\n", "ana", 1700000000.0)
    git(repository, "update-ref", "refs/heads/main", second)
    git(repository, "update-ref", "refs/tags/deploy/1", tag)
    assert git(repository, "fsck", "--strict", "--full") == ""
    assert git(repository, "log", "-1", "--format=%s|%an|%ct", first) == "Subject: ünï|ana|1700000000"
    assert git(repository, "log", "-1", "--format=%an", second) == "evil name"
    read = repository.commit(first)
    assert (read.subject, read.parents, read.author_name, read.time) == ("Subject: ünï", (), "ana", 1700000000.0)
    assert repository.tag(tag).message == "deploy/1: x\n\n{}\n"
    assert repository.tag(tag).target == first
    assert repository.peel(tag) == (first, tag)
    assert repository.peel(first) == (first, None)
    assert repository.read_blob(repository.write_blob(b"\0\xff")) == b"\0\xff"


def test_what_is_not_a_commit_leads_to_none(repository: Repository) -> None:
    blob = repository.write_blob(b"x")
    assert repository.peel(blob) == (None, None)
    assert not repository.has_commit(blob)
    assert not repository.has_commit("ab" * 20)
    for oid in ("ab" * 20, "main", "", "--help", "ab" * 19):
        with pytest.raises(NotFound):
            repository.peel(oid)
    with pytest.raises(NotFound):
        repository.commit(blob)


def test_a_chain_of_tags_has_an_end(repository: Repository) -> None:
    oid = repository.write_commit({}, [], "x", "ana", 0.0)
    first = None
    for _ in range(30):
        content = f"object {oid}\ntype {'tag' if first else 'commit'}\ntag t\ntagger a <a@b> 0 +0000\n\nx\n".encode()
        oid = first = repository.objects.write("tag", content)
    assert repository.peel(oid) == (None, oid)


def test_commits_of_any_shape_are_read(repository: Repository) -> None:
    empty = repository.objects.write("tree", b"")
    odd = b"tree " + empty.encode() + b"\nauthor \xff <> -1 +9999\ncommitter nobody\ngpgsig x\n y\n\n\xff\x1b[31m\n"
    read = repository.commit(repository.objects.write("commit", odd))
    assert read.tree == empty
    assert read.time == 0.0
    assert repository.commit(repository.objects.write("commit", b"tree " + empty.encode())).message == ""


def test_ancestry_near_far_and_across_merges(repository: Repository) -> None:
    chain = [repository.write_commit({"f": b"0"}, [], "0", "ana", 0.0)]
    for number in range(1, 40):
        chain.append(repository.write_commit({"f": str(number).encode()}, [chain[-1]], "x", "ana", float(number)))
    side = repository.write_commit({"s": b"1"}, [chain[3]], "side", "ana", 50.0)
    merge = repository.write_commit({"m": b"1"}, [chain[-1], side], "merge", "ana", 60.0)
    assert repository.is_ancestor(chain[-2], chain[-1])
    assert repository.is_ancestor(chain[0], chain[-1])
    assert repository.is_ancestor(side, merge)
    assert not repository.is_ancestor(chain[-1], chain[0])
    assert not repository.is_ancestor(side, chain[-1])
    assert repository.is_ancestor(merge, merge)


def test_history_of_a_path_and_differences(repository: Repository) -> None:
    first = repository.write_commit({"a": b"1\n", "b": b"1\n"}, [], "first", "ana", 1.0)
    second = repository.write_commit({"a": b"1\n2\n", "b": b"1\n"}, [first], "second", "ana", 2.0)
    third = repository.write_commit({"a": b"1\n2\n", "b": b"\0", ":(top)": b"x"}, [second], "third", "ana", 3.0)
    assert [each.subject for each in repository.log(third)] == ["third", "second", "first"]
    assert [each.subject for each in repository.history("a", third)] == ["second", "first"]
    assert [each.subject for each in repository.history(":(top)", third)] == ["third"]
    assert repository.differences(first, second) == {"a": (1, 0)}
    assert repository.differences(second, third)["b"] == (None, None)
    with pytest.raises(Invalid):
        repository.history("../x", third)
    with pytest.raises(NotFound):
        repository.log("--all")


def test_replacement_refs_change_nothing(repository: Repository) -> None:
    first = repository.write_commit({"a": b"1"}, [], "first", "ana", 1.0)
    second = repository.write_commit({"a": b"2"}, [], "second", "ana", 2.0)
    git(repository, "update-ref", f"refs/replace/{first}", second)
    assert [each.subject for each in repository.log(first)] == ["first"]
    assert repository.tree(first).entry("a") == repository.tree(repository.commit(first).tree).entry("a")


def test_objects_that_git_packs_meanwhile_are_found(repository: Repository) -> None:
    oid = repository.write_commit({"a": b"1"}, [], "first", "ana", 1.0)
    git(repository, "update-ref", "refs/heads/main", oid)
    assert repository.has_commit(oid)
    git(repository, "repack", "-a", "-d", "-q")
    git(repository, "prune-packed")
    assert repository.commit(oid).subject == "first"
    other = git(repository, "hash-object", "-w", "-t", "commit", "--stdin", data=commit(repository.commit(oid).tree))
    assert repository.commit(other).subject == "x"


def test_only_the_last_used_keep_files_open(tmp_path: Path, settings: GitSettings) -> None:
    repositories = Repositories(tmp_path / "many", settings)
    opened = [repositories.create(f"{number:012x}") for number in range(OPEN_AT_ONCE + 5)]
    blobs = [repository.write_blob(b"x") for repository in opened]
    assert sum(repository.objects.is_open for repository in opened) == OPEN_AT_ONCE
    assert all(repository.read_blob(blob) == b"x" for repository, blob in zip(opened, blobs, strict=True))
    assert repositories.open("000000000000") is opened[0]
    repositories.close()
    assert not any(repository.objects.is_open for repository in opened)


def test_threads_read_and_write_at_once(repository: Repository) -> None:
    wrong: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(30):
                oid = repository.write_commit({"f": b"%d" % turn}, [], f"{number} {turn}\n", "ana", 1.0)
                assert repository.commit(oid).subject == f"{number} {turn}"
                entry = repository.tree(oid).entry("f")
                assert entry is not None
                assert repository.read_blob(entry.id) == b"%d" % turn
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_acknowledged_object_is_synced(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    repository.write_blob(b"never seen before")
    assert len(synced) == 1


def test_a_tree_made_by_hand_is_refused_when_it_is_broken(repository: Repository) -> None:
    whole = tree(("100644", b"a", repository.write_blob(b"x")))
    broken = git(repository, "hash-object", "-w", "--literally", "-t", "tree", "--stdin", data=whole[:-3])
    with pytest.raises(GitError, match="cannot be read"):
        list(repository.tree(broken).walk("."))
