"""A function's code on disk: a cache by blob id, and directories filled from it with hard links."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from pathlib import Path

from clowdy.runtimes.api import Code, CodeFile

_KEPT_UNUSED_SECONDS = 30 * 24 * 3600


class UnsafePath(ValueError):
    """A path that does not stay below its folder."""


class CodeCache:
    """Files by blob id below one folder, read-only and owned by the server. Safe from several threads at once.

    A file's change time is when it was last linked, which is what `trim` goes by.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self) -> None:
        """Makes the folder and drops what no instance has used for long; blocks."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.trim(time.time() - _KEPT_UNUSED_SECONDS)

    def fill(self, code: Code, directory: Path) -> None:
        """Puts every file of `code` into the empty `directory`; blocks.

        Files are 0444, executable ones 0555, folders 0755: whoever reads them inside, nobody writes.
        """
        made: set[Path] = {directory}
        for file in code.files():
            target = directory / check_path(file.path)
            _make_folders(target.parent, made)
            self._place(code, file, target)

    def _place(self, code: Code, file: CodeFile, target: Path) -> None:
        source = self._path(file)
        # Others add the same blob at the same time, and a name that is being replaced can be missing for a moment.
        for _ in range(10):
            try:
                if source.stat().st_size != file.size:
                    # Cut short by a power failure: written anew.
                    source.unlink()
                    raise FileNotFoundError
                target.hardlink_to(source)
                return
            except FileNotFoundError:
                self._add(code, file, source)
            except OSError as error:
                # Another file system; more links than a file may have; a file that is another user's.
                if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
                    raise
                shutil.copy(source, target)
                return
        raise OSError(errno.EIO, f"{file.path} has another size than its blob {file.blob}")

    def _path(self, file: CodeFile) -> Path:
        if not file.blob.isalnum():
            raise UnsafePath(f"{file.blob!r} is not a blob id")
        return self._root / file.blob[:2] / (f"{file.blob[2:]}.x" if file.executable else file.blob[2:])

    def _add(self, code: Code, file: CodeFile, target: Path) -> None:
        content = code.read(file.blob)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".new-")
        try:
            with open(descriptor, "wb") as output:
                output.write(content)
                os.fchmod(output.fileno(), 0o555 if file.executable else 0o444)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def trim(self, older_than: float) -> int:
        """Removes blobs that no instance has now and none was given since `older_than`; how many; blocks."""
        removed = 0
        for path in self._root.glob("*/*"):
            try:
                found = path.stat()
                if found.st_nlink == 1 and found.st_ctime < older_than:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue
        return removed


def check_path(path: str) -> str:
    """`path` itself when it is relative, plain and stays below its folder; raises UnsafePath."""
    if not path or path.startswith("/") or "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise UnsafePath(f"{path!r} is not a path below a folder")
    return path


def _make_folders(folder: Path, made: set[Path]) -> None:
    if folder not in made:
        _make_folders(folder.parent, made)
        folder.mkdir()
        folder.chmod(0o755)
        made.add(folder)


def remove(directory: Path) -> None:
    """Removes an instance's directory; blocks. Only the server writes there, so that it is bounded by its code."""
    shutil.rmtree(directory, ignore_errors=True)
