"""What a build has left is judged before it becomes a layer."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from clowdy.runtimes.layers.api import BuildFailed
from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.layers.tree import check_size, delete, seal


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def test_programs_stay_programs_and_nothing_stays_writable(site: Path) -> None:
    for name, mode in (("plain", 0o666), ("program", 0o4775), (".lock", 0o666)):
        (site / name).write_text("x")
        (site / name).chmod(mode)
    (site / "folder").mkdir(mode=0o777)
    seal(site, BuildLimits())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (site, *site.iterdir())}
    assert modes == {"site": 0o555, "plain": 0o444, "program": 0o555, "folder": 0o555}
    delete(site)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_only_files_and_folders_are_kept(site: Path, kind: str) -> None:
    (site / "sub").mkdir()
    if kind == "link":
        (site / "sub" / "odd").symlink_to("/etc/passwd")
    else:
        os.mkfifo(site / "sub" / "odd")
    with pytest.raises(BuildFailed, match=r"^sub/odd is neither a file nor a folder"):
        seal(site, BuildLimits())
    assert stat.S_IMODE(Path("/etc/passwd").stat().st_mode) == 0o644


def test_a_path_that_is_too_long_to_be_used_is_refused(site: Path) -> None:
    here = os.open(site, os.O_RDONLY)
    for _ in range(10):
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(BuildFailed, match="longer than"):
        seal(site, BuildLimits())


def test_even_what_is_too_deep_to_be_walked_is_deleted(site: Path) -> None:
    here = os.open(site, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    delete(site)
    assert not site.exists()


def test_what_is_deleted_leaves_files_as_they_are_that_have_another_name(site: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (site / "closed").mkdir()
    (site / "closed" / "file").touch()
    kept.hardlink_to(site / "closed" / "file")
    kept.chmod(0o444)
    (site / "closed").chmod(0o500)
    delete(site)
    assert not site.exists()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o444


@pytest.mark.parametrize("judge", [check_size, seal])
@pytest.mark.parametrize(
    ("limits", "words"),
    [(BuildLimits(layer_files=2), "more than 2 files"), (BuildLimits(layer_bytes=1024), "more than 1 KB")],
)
def test_too_much_is_refused(
    site: Path, judge: Callable[[Path, BuildLimits], object], limits: BuildLimits, words: str
) -> None:
    for name in "abc":
        (site / name).write_text("x" * 5000)
    with pytest.raises(BuildFailed, match=words):
        judge(site, limits)
    delete(site)
