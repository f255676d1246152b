"""Objects that are written together: named as git names them, whole or not there, each synced."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from clowdy.server.git.loose import Drafts
from clowdy.server.git.repos import Repository


def test_an_object_has_its_id_before_it_is_written(repository: Repository) -> None:
    drafts = repository.drafts()
    oid = drafts.add("blob", b"hello\n")

    assert oid == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert not repository.objects.has(oid)
    drafts.write()
    assert repository.read_blob(oid) == b"hello\n"


def test_git_finds_nothing_wrong_with_what_was_written_together(repository: Repository) -> None:
    drafts = repository.drafts()
    commit = repository.write_commit({"a": b"1\n", "b": b"2\n"}, [], "both\n", "ana", 1.0, drafts)
    tag = repository.write_tag("deploy/1", commit, "deploy/1: both\n", "ana", 1.0, drafts)
    drafts.write()

    checked = subprocess.run(
        ["git", "fsck", "--strict", "--no-dangling", tag], cwd=repository.path, capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    assert repository.peel(tag).commit == commit


def test_every_object_is_synced(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    drafts = repository.drafts()
    for number in range(7):
        drafts.add("blob", b"%d" % number)
    drafts.write()

    assert len(synced) == 7


def test_what_is_there_is_not_written_again(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.write_blob(b"known")
    monkeypatch.setattr(os, "fsync", lambda descriptor: pytest.fail("written again"))
    assert repository.read_blob(repository.write_blob(b"known")) == b"known"


def test_a_full_disk_leaves_no_half_of_an_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    drafts = Drafts(tmp_path, lambda oid: False)
    drafts.add("blob", b"one")
    drafts.add("blob", b"two")
    with pytest.raises(OSError, match="No space left"):
        drafts.write()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
