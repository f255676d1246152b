"""uv, where the user of a build can run it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import uv

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.runner import readable_by_all


def find_uv(folder: Path, *, for_any_user: bool) -> Path:
    """The program, copied into `folder` when it lies where others cannot pass; blocks. Raises DriverUnavailable."""
    try:
        found = Path(uv.find_uv_bin()).resolve()
    except OSError:
        raise DriverUnavailable("uv is not installed. Cure: make setup, or pip install uv") from None
    if not for_any_user or readable_by_all(found):
        return found
    status = found.stat()
    target = folder / f"uv-{status.st_size}-{status.st_mtime_ns}"
    if not target.exists():
        for old in folder.glob("uv-*"):
            old.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as beside:
            copy = Path(beside) / "uv"
            shutil.copyfile(found, copy)
            copy.chmod(0o755)
            copy.replace(target)
    return target
