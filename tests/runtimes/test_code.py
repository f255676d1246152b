from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from clowdy.runtimes.api import CodeFile
from clowdy.runtimes.code import CodeCache, UnsafePath, check_path, remove
from tests.contracts.world import TextCode


@pytest.fixture
def cache(tmp_path: Path) -> CodeCache:
    cache = CodeCache(tmp_path / "blobs")
    cache.open()
    return cache


def empty(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return folder


def test_a_folder_is_filled_with_every_file_and_its_mode(cache: CodeCache, tmp_path: Path) -> None:
    folder = empty(tmp_path, "one")
    cache.fill(TextCode({"a.py": "a", "b/c/d.py": "d", "run": "r", "b/empty": ""}, executable=("run",)), folder)
    assert {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()} == {
        "a.py": "a",
        "b/c/d.py": "d",
        "b/empty": "",
        "run": "r",
    }
    assert stat.S_IMODE((folder / "a.py").stat().st_mode) == 0o444
    assert stat.S_IMODE((folder / "run").stat().st_mode) == 0o555
    assert stat.S_IMODE((folder / "b" / "c").stat().st_mode) == 0o755


def test_a_blob_is_read_once_and_shared(cache: CodeCache, tmp_path: Path) -> None:
    code = TextCode({"a.py": "same", "b.py": "same", "x": "same"}, executable=("x",))
    one, two = empty(tmp_path, "one"), empty(tmp_path, "two")
    cache.fill(code, one)
    cache.fill(code, two)
    assert code.reads == 2
    assert (one / "a.py").samefile(two / "b.py")
    assert not (one / "a.py").samefile(one / "x")


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EMLINK, errno.EPERM])
def test_where_no_link_can_be_made_a_copy_is(
    cache: CodeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    folder = empty(tmp_path, "one")
    cache.fill(TextCode({"a.py": "a", "run": "r"}, executable=("run",)), folder)
    assert (folder / "a.py").read_text() == "a"
    assert stat.S_IMODE((folder / "run").stat().st_mode) == 0o555
    assert (folder / "a.py").stat().st_nlink == 1


def test_a_blob_that_a_power_failure_cut_short_is_written_anew(cache: CodeCache, tmp_path: Path) -> None:
    code = TextCode({"a.py": "whole"})
    cache.fill(code, empty(tmp_path, "one"))
    blob = next((tmp_path / "blobs").glob("*/*"))
    blob.chmod(0o644)
    blob.write_text("")
    cache.fill(code, two := empty(tmp_path, "two"))
    assert (two / "a.py").read_text() == "whole"


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../x", "a//b", "./a", "a/.", "a\0b", "a/"])
def test_paths_that_leave_the_folder_are_refused(cache: CodeCache, tmp_path: Path, path: str) -> None:
    with pytest.raises(UnsafePath):
        check_path(path)
    with pytest.raises(UnsafePath):
        cache.fill(TextCode({path: "x"}), empty(tmp_path, "one"))


def test_a_blob_id_that_is_a_path_is_refused(cache: CodeCache, tmp_path: Path) -> None:
    class Hostile(TextCode):
        def files(self) -> list[CodeFile]:
            return [CodeFile("a", "../../../etc/x", 1, False)]

    with pytest.raises(UnsafePath):
        cache.fill(Hostile({}), empty(tmp_path, "one"))


def test_names_that_are_not_utf8_are_kept(cache: CodeCache, tmp_path: Path) -> None:
    name = b"caf\xe9.txt".decode("utf-8", "surrogateescape")
    cache.fill(TextCode({name: "x"}), folder := empty(tmp_path, "one"))
    assert os.listdir(os.fsencode(folder)) == [b"caf\xe9.txt"]


def test_what_nobody_uses_is_trimmed(cache: CodeCache, tmp_path: Path) -> None:
    cache.fill(TextCode({"a.py": "used"}), one := empty(tmp_path, "one"))
    cache.fill(TextCode({"a.py": "unused"}), two := empty(tmp_path, "two"))
    remove(two)
    assert cache.trim(older_than=0) == 0
    assert cache.trim(older_than=2**40) == 1
    assert (one / "a.py").stat().st_nlink == 2


def test_threads_fill_from_one_cache_at_once(cache: CodeCache, tmp_path: Path) -> None:
    code = TextCode({f"f{number}.py": f"{number}" for number in range(100)})
    folders = [empty(tmp_path, str(number)) for number in range(6)]
    threads = [threading.Thread(target=cache.fill, args=(code, folder)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(list(folder.iterdir())) == 100 for folder in folders)
    assert not list((tmp_path / "blobs").glob("*/.new-*"))
