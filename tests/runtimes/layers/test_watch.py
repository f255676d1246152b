"""Signs of life, and what lies on the disk."""

from __future__ import annotations

from pathlib import Path

from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.layers.watch import Disk, Progress, Stop, Taken, taken


def test_a_line_or_work_is_a_sign_of_life_and_a_little_work_is_none() -> None:
    progress = Progress(now=0.0)
    progress.worked(2, now=10.0)
    assert progress.idle_seconds(10.0) == 10.0
    progress.printed(now=11.0)
    assert progress.idle_seconds(12.0) == 1.0
    progress.worked(50, now=20.0)
    assert progress.idle_seconds(20.0) == 0.0
    progress.worked(52, now=30.0)
    assert progress.idle_seconds(30.0) == 10.0
    # A process of it has ended.
    progress.worked(3, now=31.0)
    assert progress.idle_seconds(31.0) == 0.0


def test_a_file_with_two_names_takes_its_room_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(10_000) + b"x")
    alone = taken(tmp_path)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "c").symlink_to("/usr")
    both = taken(tmp_path)
    assert both.bytes == alone.bytes
    assert (alone.files, both.files) == (1, 3)


def test_counting_stops_once_it_is_too_much(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        for each in range(5):
            (folder / str(each)).touch()
    assert 10 < taken(tmp_path, Taken(1 << 40, 10)).files < 120


def test_a_disk_without_room_ends_a_build(tmp_path: Path) -> None:
    assert Disk(tmp_path, BuildLimits(free_bytes=1 << 60), 0.0).look(0.1) is Stop.DISK
    assert Disk(tmp_path, BuildLimits(), 0.0).look(0.1) is None


def test_a_folder_is_walked_after_a_while_even_if_the_disk_does_not_fill(tmp_path: Path) -> None:
    disk = Disk(tmp_path, BuildLimits(layer_files=-10_000), 0.0)
    (tmp_path / "a").touch()
    assert disk.look(6.0) is Stop.FILES
