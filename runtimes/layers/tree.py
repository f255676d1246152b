"""The folder that a build has filled: judged, made read-only and the server's own, and put in its place."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

from clowdy.runtimes.layers import seal_worker
from clowdy.runtimes.layers.api import BuildFailed
from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.layers.watch import Taken, taken
from clowdy.schema.text import printable
from clowdy.schema.units import format_size


def seal(folder: Path, limits: BuildLimits) -> Taken:
    """Makes every file and folder read-only and owned by the server; what they take; blocks.

    Raises BuildFailed for more than `limits` and for anything but files and folders. Nothing may write there any
    more when this is called.
    """
    own = _own if os.geteuid() == 0 else lambda path: None
    return judge(*seal_worker.seal(os.fsencode(folder), limits.layer_bytes, limits.layer_files, own), limits)


def judge(wrong: str, path: str, size: int, files: int, limits: BuildLimits) -> Taken:
    """What a sealed folder takes; raises BuildFailed for what `seal_worker` found wrong with it."""
    if not wrong:
        return Taken(size, files)
    raise BuildFailed(
        {
            "path": f"a package has a path longer than {seal_worker.LONGEST_PATH_BYTES} bytes",
            "kind": f"{printable(path, 300)} is neither a file nor a folder",
            "files": too_many_files(limits),
            "bytes": too_large(limits),
        }[wrong]
    )


def check_size(folder: Path, limits: BuildLimits) -> None:
    """Raises BuildFailed when `folder` holds more than a layer may; blocks."""
    found = taken(folder, Taken(limits.layer_bytes, limits.layer_files))
    if found.bytes > limits.layer_bytes:
        raise BuildFailed(too_large(limits))
    if found.files > limits.layer_files:
        raise BuildFailed(too_many_files(limits))


def too_large(limits: BuildLimits) -> str:
    """Why a layer of that size is not kept."""
    return f"the requirements take more than {format_size(limits.layer_bytes)} when they are installed"


def too_many_files(limits: BuildLimits) -> str:
    """Why a layer of so many files is not kept."""
    return f"the requirements have more than {limits.layer_files:,} files"


def _own(path: bytes) -> None:
    os.chown(path, 0, 0, follow_symlinks=False)


def sync(folder: Path) -> None:
    """Everything that was written to the file system of `folder` is on the disk when this returns; blocks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # One call for all of it: to sync thousands of small files one by one takes seconds.
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), f"{folder} cannot be synced")
    finally:
        os.close(descriptor)


def delete(folder: Path) -> None:
    """Removes a folder whatever a build has made in it; blocks.

    Not in this process: what a package unpacks may be deeper than Python can walk.
    """
    if os.geteuid() != 0:
        # Folders alone: files of a layer may have another name here still.
        unlock = ["find", str(folder), "-type", "d", "!", "-perm", "-700", "-exec", "chmod", "u+rwx", "{}", ";"]
        subprocess.run(unlock, env=_PLAIN, capture_output=True, check=False)
    subprocess.run(["rm", "-rf", "--one-file-system", "--", folder], env=_PLAIN, capture_output=True, check=False)


_PLAIN = {"PATH": os.defpath, "LC_ALL": "C"}
