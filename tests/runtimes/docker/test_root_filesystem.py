from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from clowdy.runtimes.docker.root_filesystem import RootFilesystem


def write(root: RootFilesystem) -> tuple[str, bytes]:
    target = io.BytesIO()
    return root.write(target), target.getvalue()


def members(root: RootFilesystem) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(write(root)[1])) as archive:
        return {f"/{member.name}": member for member in archive}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder whose path has no links."""
    return tmp_path.resolve()


def test_equal_files_make_an_equal_tar(here: Path) -> None:
    for name in ("a", "b"):
        (here / name).write_text(name)
    first, second = RootFilesystem(), RootFilesystem()
    first.copy(here / "a")
    first.copy(here / "b")
    before = write(first)
    os.utime(here / "a", (1, 1))
    (here / "b").chmod(0o600)
    if os.geteuid() == 0:
        os.chown(here / "b", 4711, 4711)
    second.copy(here / "b")
    second.copy(here / "a")

    assert write(second) == before
    assert before[0] == hashlib.sha256(before[1]).hexdigest()


def test_another_content_makes_another_tar(here: Path) -> None:
    root = RootFilesystem()
    (here / "a").write_text("a")
    root.copy(here / "a")
    before, _ = write(root)
    (here / "a").write_text("b")

    assert write(root)[0] != before


def test_owners_times_and_rights_are_those_of_an_image(here: Path) -> None:
    (here / "program").touch()
    (here / "program").chmod(0o4700)
    (here / "text").touch()
    (here / "text").chmod(0o666)
    root = RootFilesystem()
    root.copy(here / "program")
    root.copy(here / "text")
    root.folder(Path("/tmp"), 0o1777)
    found = members(root)

    assert {(member.uid, member.gid, member.mtime, member.uname) for member in found.values()} == {(0, 0, 0, "")}
    assert found[f"{here}/program"].mode == 0o755
    assert found[f"{here}/text"].mode == 0o644
    assert found[str(here)].mode == 0o755
    assert found["/tmp"].mode == 0o1777


def test_links_on_the_way_are_taken_over_with_what_they_lead_to(here: Path) -> None:
    (here / "usr" / "lib").mkdir(parents=True)
    (here / "usr" / "lib" / "one.so.1").write_text("one")
    (here / "usr" / "lib" / "one.so").symlink_to("one.so.1")
    (here / "lib").symlink_to(here / "usr" / "lib")
    root = RootFilesystem()
    root.copy(here / "lib" / "one.so")
    root.copy(here / "lib" / "one.so")
    found = members(root)

    assert found[f"{here}/lib"].linkname == "usr/lib"
    assert found[f"{here}/usr/lib/one.so"].linkname == "one.so.1"
    assert found[f"{here}/usr/lib/one.so.1"].isfile()
    assert f"{here}/lib/one.so" not in found


def test_what_lies_behind_a_link_of_the_image_goes_where_it_leads(here: Path) -> None:
    root = RootFilesystem()
    root.link(Path("/nowhere/link"), Path("/nowhere/folder"))
    root.text(Path("/nowhere/link/file"), "text")
    found = members(root)

    assert found["/nowhere/link"].linkname == "folder"
    assert found["/nowhere/folder/file"].isfile()


def test_a_link_replaces_nothing(here: Path) -> None:
    (here / "python3").write_text("it")
    root = RootFilesystem()
    root.copy(here / "python3")
    root.link(here / "python3", here / "other")

    assert members(root)[f"{here}/python3"].isfile()


def test_of_a_folder_that_is_copied_some_things_are_left_out(here: Path) -> None:
    for name in ("lib/test/deep.py", "lib/kept/deep.py", "lib/secret.py", "lib/kept.py"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).touch()
    (here / "lib" / "dangling").symlink_to("nowhere")
    root = RootFilesystem()
    root.copy_folder(here / "lib", lambda path: path.name in {"test", "secret.py"})

    assert [str(path.relative_to(here)) for path in root.files()] == ["lib/kept/deep.py", "lib/kept.py"]
    assert f"{here}/lib/dangling" not in members(root)
