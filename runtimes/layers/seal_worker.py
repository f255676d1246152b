"""Judges a folder that a build has filled and makes it read-only: `seal`, or as a program in a container.

`python -I -S -c SOURCE FOLDER MOST_BYTES MOST_FILES [EMPTIED…]` ends every other process of its user, empties the
folders EMPTIED, seals FOLDER and prints what `seal` gives as JSON. Standard library only.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import sys
from collections.abc import Callable

# Inside it stands below /packages, and a system call takes a path of 4,096 bytes.
LONGEST_PATH_BYTES = 2000
# What uv leaves beside the packages.
_LEFT_BY_UV = (".lock", ".gitignore", "CACHEDIR.TAG")


def seal(
    folder: bytes, most_bytes: int, most_files: int, own: Callable[[bytes], None] = lambda path: None
) -> tuple[str, str, int, int]:
    """What is wrong with it (`path`, `kind`, `files`, `bytes` or nothing) and where; its bytes on the disk and files.

    Every file and folder is made read-only and given to `own`. Nothing may write there any more.
    """
    for name in _LEFT_BY_UV:
        left = os.path.join(folder, name.encode())  # noqa: PTH118  (bytes)
        if os.path.lexists(left):
            os.unlink(left)  # noqa: PTH108  (bytes)
    size = files = 0
    seen: set[int] = set()
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        if len(path) - len(folder) > LONGEST_PATH_BYTES:
            return "path", "", size, files
        with os.scandir(path) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                files += 1
                if stat.S_ISDIR(found.st_mode):
                    waiting.append(entry.path)
                elif stat.S_ISREG(found.st_mode):
                    _close(entry.path, 0o555 if found.st_mode & 0o111 else 0o444, own)
                else:
                    return "kind", os.fsdecode(entry.path[len(folder) :]).lstrip("/"), size, files
                if found.st_ino not in seen:
                    seen.add(found.st_ino)
                    size += found.st_blocks * 512
                if files > most_files:
                    return "files", "", size, files
        _close(path, 0o555, own)
    return "bytes" if size > most_bytes else "", "", size, files


def _close(path: bytes, mode: int, own: Callable[[bytes], None]) -> None:
    own(path)
    # After the change of owner, which takes special bits away.
    os.chmod(path, mode)  # noqa: PTH101  (bytes)


def main(folder: str, most_bytes: str, most_files: str, *emptied: str) -> None:
    # All that this user may signal, but for itself: nothing changes behind what is judged.
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        pass
    for each in emptied:
        with os.scandir(each) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)  # noqa: PTH108
    print(json.dumps(seal(os.fsencode(folder), int(most_bytes), int(most_files))))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
