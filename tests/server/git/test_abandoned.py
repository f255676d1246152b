"""Folders that cut pushes leave are gone with the repository's last push, and not before."""

from __future__ import annotations

from pathlib import Path

from clowdy.server.git.abandoned import AbandonedQuarantines


def a_folder(repository: Path, name: str) -> Path:
    folder = repository / "objects" / name
    (folder / "pack").mkdir(parents=True)
    (folder / "pack" / "tmp_pack_x").write_bytes(b"half")
    return folder


async def test_it_is_removed_when_the_last_push_ends(tmp_path: Path) -> None:
    abandoned = AbandonedQuarantines()
    async with abandoned.watch(tmp_path):
        async with abandoned.watch(tmp_path):
            folder = a_folder(tmp_path, "tmp_objdir-incoming-a")
        assert folder.exists()
    assert not folder.exists()


async def test_another_repository_and_what_git_keeps_are_left(tmp_path: Path) -> None:
    abandoned = AbandonedQuarantines()
    other = a_folder(tmp_path / "other", "tmp_objdir-incoming-b")
    kept = a_folder(tmp_path / "one", "17")
    async with abandoned.watch(tmp_path / "one"):
        pass
    assert other.exists() and kept.exists()


async def test_a_repository_that_is_gone_is_no_error(tmp_path: Path) -> None:
    async with AbandonedQuarantines().watch(tmp_path / "gone"):
        pass
