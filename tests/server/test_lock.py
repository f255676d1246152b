from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from clowdy.server import lock
from clowdy.server.errors import StartError
from clowdy.server.lock import DataLock, holder


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_WAIT_SECONDS", 0.0)


def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with DataLock.acquire(tmp_path / "a" / "data"):
        assert stat.S_IMODE((tmp_path / "a" / "data").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "a" / "data" / "lock").stat().st_mode) == 0o600


def test_a_second_server_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    with DataLock.acquire(tmp_path, ["clowdy", "serve"]):
        with pytest.raises(StartError) as caught:
            DataLock.acquire(tmp_path)

        found = holder(tmp_path)

    assert f"process {os.getpid()} on " in caught.value.message
    assert "(clowdy serve): stop it, or choose another --data-dir (CLOWDY_DATA_DIR)" in caught.value.message
    assert found is not None
    assert found.pid == os.getpid()


def test_who_holds_the_directory_says_where_it_answers(tmp_path: Path) -> None:
    with DataLock.acquire(tmp_path, ["clowdy", "serve"]) as held:
        held.announce("http://127.0.0.1:8123")
        found = holder(tmp_path)

    assert found is not None
    assert (found.url, found.command, found.pid) == ("http://127.0.0.1:8123", "clowdy serve", os.getpid())


def test_a_released_directory_can_be_taken_again(tmp_path: Path) -> None:
    first = DataLock.acquire(tmp_path)
    first.release()
    first.release()

    assert holder(tmp_path) is None
    DataLock.acquire(tmp_path).release()


def test_a_killed_server_leaves_the_directory_free(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal; from clowdy.server.lock import DataLock;"
        f"DataLock.acquire(pathlib.Path({str(tmp_path)!r})); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9

    assert holder(tmp_path) is None
    DataLock.acquire(tmp_path).release()


def test_a_child_that_inherited_the_lock_keeps_the_next_server_out(tmp_path: Path) -> None:
    first = DataLock.acquire(tmp_path)
    child = subprocess.Popen(["sleep", "60"], pass_fds=[first.descriptor])
    try:
        first.release()

        with pytest.raises(StartError, match="a process that a server left behind"):
            DataLock.acquire(tmp_path)
    finally:
        child.kill()
        child.wait()
    DataLock.acquire(tmp_path).release()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "target")

    with pytest.raises(StartError, match="cannot be used"):
        DataLock.acquire(tmp_path)
    assert (tmp_path / "target").read_text() == "precious"
    assert holder(tmp_path) is None


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StartError, match="file/data cannot be used: Not a directory"):
        DataLock.acquire(tmp_path / "file" / "data")
