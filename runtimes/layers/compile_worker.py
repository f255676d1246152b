"""Compiles every module below a folder: `python -I -S -c SOURCE FOLDER CHILDREN`. Standard library only.

It forks by itself: the executor that `compileall` would use takes a third more processor time. What cannot be
compiled, as syntax of another Python, is left to its import.
"""

from __future__ import annotations

import os
import py_compile
import sys
from collections.abc import Sequence


def _compile(files: Sequence[str]) -> None:
    for file in files:
        try:
            # The files are never changed, so that Python need not look whether they were.
            py_compile.compile(file, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        except Exception:  # noqa: BLE001, S112  (whatever a stranger's file makes of it)
            continue


def main(folder: str, count: int) -> None:
    files = [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names if name.endswith(".py")]  # noqa: PTH118
    # The largest ones first, in turn, so that all children end at about the same time.
    files.sort(key=os.path.getsize, reverse=True)
    children = []
    for first in range(count):
        child = os.fork()
        if child == 0:
            try:
                _compile(files[first::count])
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
