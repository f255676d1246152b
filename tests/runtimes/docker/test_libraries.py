from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from clowdy.runtimes.docker.libraries import copy_libraries, find_libraries
from clowdy.runtimes.docker.root_filesystem import RootFilesystem

SHELL = Path("/bin/sh")


def test_what_a_program_needs_is_found_with_its_loader() -> None:
    found = find_libraries([SHELL])

    assert "libc.so.6" in found
    assert any(name.startswith("ld") for name in found)
    assert all(path.is_file() for path in found.values())


def test_what_wheels_need_is_found_whoever_needs_it() -> None:
    assert {"libpthread.so.0", "libgcc_s.so.1", "libm.so.6"} <= set(find_libraries([SHELL]))


def test_variables_of_this_process_decide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = find_libraries([SHELL])
    shutil.copy(before["libc.so.6"], tmp_path / "libc.so.6")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))

    assert find_libraries([SHELL]) == before


def test_a_program_without_libraries_needs_none(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")

    assert find_libraries([tmp_path / "script"]) == {}


def test_a_library_from_elsewhere_is_found_beside_libc(tmp_path: Path) -> None:
    here = tmp_path.resolve()
    for name in ("system/libc.so.6", "elsewhere/libown.so.1"):
        (here / name).parent.mkdir()
        (here / name).touch()
    root = RootFilesystem()
    copy_libraries(root, {"libc.so.6": here / "system/libc.so.6", "libown.so.1": here / "elsewhere/libown.so.1"})
    target = io.BytesIO()
    root.write(target)

    with tarfile.open(fileobj=io.BytesIO(target.getvalue())) as archive:
        assert archive.getmember(f"{here}/system/libown.so.1"[1:]).linkname == "../elsewhere/libown.so.1"
        assert archive.getmember(f"{here}/elsewhere/libown.so.1"[1:]).isfile()
        assert archive.getmember(f"{here}/system/libc.so.6"[1:]).isfile()
