"""The folder that a build has filled: judged, made read-only and the server's own, and put in its place."""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
from pathlib import Path

from clowdy.runtimes.layers.api import BuildFailed
from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.layers.watch import Taken, taken
from clowdy.schema.units import format_size

# Inside it stands below /packages, and a system call takes a path of 4,096 bytes.
_LONGEST_PATH_BYTES = 2000
# What uv leaves beside the packages.
_LEFT_BY_UV = (".lock", ".gitignore", "CACHEDIR.TAG")


def seal(folder: Path, limits: BuildLimits) -> Taken:
    """Makes every file and folder read-only and owned by the server; what they take; blocks.

    Raises BuildFailed for more than `limits` and for anything but files and folders. Nothing may write there any
    more when this is called.
    """
    for name in _LEFT_BY_UV:
        (folder / name).unlink(missing_ok=True)
    size = files = 0
    seen: set[int] = set()
    base = len(os.fsencode(folder))
    waiting = [os.fsencode(folder)]
    while waiting:
        path = waiting.pop()
        if len(path) - base > _LONGEST_PATH_BYTES:
            raise BuildFailed(f"a package has a path longer than {_LONGEST_PATH_BYTES} bytes")
        with os.scandir(path) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                files += 1
                if stat.S_ISDIR(found.st_mode):
                    waiting.append(entry.path)
                elif stat.S_ISREG(found.st_mode):
                    _own(entry.path, 0o555 if found.st_mode & 0o111 else 0o444)
                else:
                    raise BuildFailed(f"{_inside(entry.path, base)} is neither a file nor a folder")
                if found.st_ino not in seen:
                    seen.add(found.st_ino)
                    size += found.st_blocks * 512
                if files > limits.layer_files:
                    raise BuildFailed(too_many_files(limits))
        _own(path, 0o555)
    if size > limits.layer_bytes:
        raise BuildFailed(too_large(limits))
    return Taken(size, files)


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


def _own(path: bytes, mode: int) -> None:
    if os.geteuid() == 0:
        os.chown(path, 0, 0, follow_symlinks=False)
    # After the change of owner, which takes special bits away.
    os.chmod(path, mode)  # noqa: PTH101  (bytes)


def _inside(path: bytes, base: int) -> str:
    return os.fsdecode(path[base:]).lstrip("/")


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
