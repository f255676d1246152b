"""Where the server writes what instances see, and under which path bubblewrap finds it.

bubblewrap runs as the instance's own user and cannot pass a folder of mode 0700, as root's home is. A server that
runs as root therefore makes itself a private mount namespace and binds its folder below one in /run.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from clowdy.runtimes.api import DriverUnavailable

_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 0x80000
_MNT_DETACH = 2

_private = False


def enter_private_mounts() -> bool:
    """Gives this process mounts of its own; False where that is not allowed. Called before any thread is started."""
    global _private
    if _private:
        return True
    if os.geteuid() != 0:
        return False
    if threading.active_count() > 1:
        raise RuntimeError("private mounts hold for the calling thread alone: enter them before others are started")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        return False
    # Mounts of the host still arrive here; what is mounted here is never seen there.
    if libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None) != 0:
        return False
    _private = True
    return True


@dataclass(frozen=True, slots=True)
class View:
    """`written` is the server's path of a folder, `shown` the one that bubblewrap is given."""

    written: Path
    shown: Path
    bound: bool = False

    def close(self, run_dir: Path) -> None:
        """Leaves nothing in `run_dir` that is not wanted any more; blocks."""
        if self.bound:
            ctypes.CDLL(None).umount2(os.fsencode(self.shown), _MNT_DETACH)
        for folder in (self.shown, run_dir):
            # Only what is empty: files lie there where there are no private mounts.
            if folder.is_relative_to(run_dir):
                with contextlib.suppress(OSError):
                    folder.rmdir()


def open_view(folder: Path, run_dir: Path, name: str = "view") -> View:
    """Makes `folder` reachable for the users of instances, by `name` in `run_dir` if need be; blocks.

    Raises DriverUnavailable.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o711)
    if os.geteuid() != 0:
        return View(folder, folder)
    folder.chmod(0o711)
    if _passable(folder):
        return View(folder, folder)
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
    run_dir.chmod(0o711)
    if not _passable(run_dir):
        raise DriverUnavailable(f"{run_dir} lies below a folder that the users of functions cannot pass")
    if _private:
        shown = run_dir / name
        shown.mkdir(exist_ok=True, mode=0o711)
        if not shown.samefile(folder):
            _bind(folder, shown)
        return View(folder, shown, bound=True)
    # Without private mounts the files themselves lie there.
    written = run_dir / "runtime"
    written.mkdir(exist_ok=True, mode=0o711)
    return View(written, written)


def _passable(folder: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in (folder, *folder.resolve().parents))


def _bind(source: Path, target: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(os.fsencode(source), os.fsencode(target), None, _MS_BIND, None) != 0:
        raise DriverUnavailable(f"cannot bind {source} to {target}: {os.strerror(ctypes.get_errno())}")
