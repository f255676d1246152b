from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.sandbox.view import open_view

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def passable() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="clowdy-view-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@root_only
def test_a_folder_that_all_may_pass_is_shown_as_it_is(passable: Path) -> None:
    view = open_view(passable / "data", passable / "run")
    assert view.written == view.shown == passable / "data"
    assert stat.S_IMODE(view.written.stat().st_mode) == 0o711
    assert not (passable / "run").exists()


@root_only
def test_without_private_mounts_the_files_lie_where_all_may_pass(passable: Path) -> None:
    hidden = passable / "home"
    hidden.mkdir(mode=0o700)
    view = open_view(hidden / "data", passable / "run")
    assert view.written == view.shown == passable / "run" / "runtime"


@root_only
def test_a_place_in_run_that_nobody_may_pass_is_refused(passable: Path) -> None:
    hidden = passable / "home"
    hidden.mkdir(mode=0o700)
    with pytest.raises(DriverUnavailable, match="cannot pass"):
        open_view(hidden / "data", hidden / "run")


@root_only
def test_private_mounts_show_a_hidden_folder_and_leave_nothing_behind(passable: Path) -> None:
    """In a process of its own: mounts that are private stay so until the process ends."""
    hidden = passable / "home"
    hidden.mkdir(mode=0o700)
    script = f"""
from pathlib import Path
from clowdy.runtimes.sandbox.view import enter_private_mounts, open_view
if not enter_private_mounts():
    raise SystemExit(77)
assert enter_private_mounts()
view = open_view(Path({str(hidden / "data")!r}), Path({str(passable / "run")!r}))
(view.written / "file").write_text("seen")
print((view.shown / "file").read_text(), view.shown)
view.close(Path({str(passable / "run")!r}))
assert not Path({str(passable / "run")!r}).exists()
assert (view.written / "file").exists()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("no mounts of its own here")
    assert done.stdout.split() == ["seen", str(passable / "run" / "view")], done.stderr
    assert (hidden / "data" / "file").exists()
    assert not (passable / "run").exists()


@root_only
def test_private_mounts_are_refused_once_threads_run() -> None:
    script = """
import threading
from clowdy.runtimes.sandbox.view import enter_private_mounts
threading.Thread(target=threading.Event().wait, daemon=True).start()
enter_private_mounts()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "RuntimeError" in done.stderr
