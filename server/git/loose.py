"""New objects: named before they are written, each a file of its own, and one wait for the disk for all of them."""

from __future__ import annotations

import hashlib
import os
import secrets
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

AT_ONCE = 4

# A file system writes what several threads sync at once in one go.
_writers = ThreadPoolExecutor(AT_ONCE, "git-write")


class Drafts:
    """Objects that have their ids, and are on disk once `write` returns."""

    def __init__(self, folder: Path, has: Callable[[str], bool]) -> None:
        self._folder = folder
        self._has = has
        self._objects: dict[str, bytes] = {}

    def add(self, kind: str, content: bytes) -> str:
        """The id of an object."""
        whole = b"%b %d\0%b" % (kind.encode(), len(content), content)
        oid = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
        self._objects[oid] = whole
        return oid

    def write(self) -> None:
        """Writes those that are not there yet."""
        missing = [(oid, whole) for oid, whole in self._objects.items() if not self._has(oid)]
        self._objects.clear()
        if len(missing) == 1:
            self._write(*missing[0])
        else:
            writing = [_writers.submit(self._write, oid, whole) for oid, whole in missing]
            # All of them, also when the first one fails: nothing is still being written when this returns.
            for done in wait(writing).done:
                done.result()

    def _write(self, oid: str, whole: bytes) -> None:
        path = self._folder / oid[:2] / oid[2:]
        path.parent.mkdir(exist_ok=True)
        # With this ending, what a crash leaves is swept at the next start.
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.lock")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        try:
            with open(descriptor, "wb", buffering=0) as file:
                file.write(zlib.compress(whole, 1))
                os.fsync(file.fileno())
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
