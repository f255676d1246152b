"""Trees on the user's own machine: a commit of a clone through C git, and a folder as it is on disk."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from clowdy.hooks.code import inside
from clowdy.hooks.tree import Entry, Kind

_KINDS = {"100755": Kind.EXECUTABLE, "120000": Kind.SYMLINK, "160000": Kind.SUBMODULE}
_TOO_LARGE = "more than {limit:,} bytes"


class NoTree(Exception):
    """There is no tree to look at; the message says why and what to do."""


class _Listed:
    """What both have in common: every entry is known from the start."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        ordered = sorted(entries, key=lambda entry: os.fsencode(entry.path))
        self._entries = {entry.path: entry for entry in ordered}
        self._folders: dict[str, None] = {}
        for path in self._entries:
            end = path.rfind("/")
            while end > 0 and path[:end] not in self._folders:
                self._folders[path[:end]] = None
                end = path.rfind("/", 0, end)

    def entry(self, path: str) -> Entry | None:
        """What stands at `path`, or None."""
        if path in self._folders or path == ".":
            return Entry(path, Kind.FOLDER, "", 0)
        return self._entries.get(path)

    def walk(self, folder: str) -> Iterator[Entry]:
        """Every file, symlink and submodule below `folder`, in the order of their paths."""
        return (entry for path, entry in self._entries.items() if path != folder and inside(path, folder))


class CommitTree(_Listed):
    """The tree of one commit of a clone. Replace refs count for nothing, as on the server."""

    def __init__(self, folder: Path, revision: str = "HEAD") -> None:
        """Reads the names; raises NoTree where `folder` is no clone or has no such commit."""
        self._folder = folder
        self._reader: subprocess.Popen[bytes] | None = None
        self.commit = self._git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
        ).strip()
        if not self.commit:
            raise NoTree(f"{revision} is no commit here: git add and git commit first")
        listing = self._git("ls-tree", "-r", "-z", "-l", "--full-tree", self.commit)
        super().__init__(_listed(line) for line in listing.split("\0") if line)

    def read(self, entry: Entry, limit: int) -> bytes:
        """The content of a file; raises ValueError when it has more than `limit` bytes."""
        if entry.size > limit:
            raise ValueError(_TOO_LARGE.format(limit=limit))
        source, answers = self._open()
        source.write(f"{entry.id}\n".encode())
        source.flush()
        header = answers.readline().split()
        if len(header) != 3 or header[1] != b"blob":
            raise NoTree(f"git cannot read {entry.path}: git fsck says more")
        content = answers.read(int(header[2]))
        answers.read(1)
        return content

    def close(self) -> None:
        """Ends the git that reads."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._reader is None:
            self._reader = subprocess.Popen(
                ["git", "--no-replace-objects", "-C", os.fspath(self._folder), "cat-file", "--batch"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        assert self._reader.stdin is not None
        assert self._reader.stdout is not None
        return self._reader.stdin, self._reader.stdout

    def _git(self, *arguments: str) -> str:
        return _git(self._folder, *arguments)


class FolderTree(_Listed):
    """A folder as it is on disk: in a clone what `git add -A` would take, elsewhere everything. No symlink is followed.

    Entries have no id, since nothing was hashed.
    """

    def __init__(self, folder: Path) -> None:
        """Reads the names; raises NoTree where `folder` is no folder."""
        if not folder.is_dir():
            raise NoTree(f"{folder} is not a folder")
        self._folder = folder
        super().__init__(_found(folder, _paths(folder)))

    def read(self, entry: Entry, limit: int) -> bytes:
        """The content of a file; raises ValueError when it has more than `limit` bytes."""
        with _opened(self._folder, entry.path) as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise ValueError(_TOO_LARGE.format(limit=limit))
        return content


def _listed(line: str) -> Entry:
    """The entry of `100644 blob ID    SIZE\tPATH`."""
    head, _, path = line.partition("\t")
    mode, _, oid, size = head.split()
    kind = _KINDS.get(mode, Kind.FILE)
    return Entry(path, kind, oid, int(size) if kind in (Kind.FILE, Kind.EXECUTABLE) else 0)


def _git(folder: Path, *arguments: str) -> str:
    """What git prints, with surrogates for what is not UTF-8; empty when it fails quietly."""
    try:
        done = subprocess.run(
            ["git", "--no-replace-objects", "-C", os.fspath(folder), *arguments], capture_output=True, check=False
        )
    except FileNotFoundError:
        raise NoTree("git is not installed") from None
    if done.returncode != 0 and done.stderr:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        # Warnings may stand before it, and what could be set after it.
        raise NoTree(next((line for line in words if line.startswith("fatal: ")), words[-1]).removeprefix("fatal: "))
    return os.fsdecode(done.stdout) if done.returncode == 0 else ""


def _paths(folder: Path) -> Iterator[str]:
    """The paths of everything in `folder` that a commit could hold; a repository inside it ends in `/`."""
    try:
        listing = _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
    except NoTree:
        return _everything(folder, "")
    return iter(dict.fromkeys(path for path in listing.split("\0") if path))


def _everything(folder: Path, prefix: str) -> Iterator[str]:
    waiting = [prefix]
    while waiting:
        above = waiting.pop()
        with os.scandir(folder / above) as found:
            for item in found:
                if item.name == ".git":
                    continue
                if item.is_dir(follow_symlinks=False):
                    waiting.append(f"{above}{item.name}/")
                else:
                    yield f"{above}{item.name}"


def _found(folder: Path, paths: Iterable[str]) -> Iterator[Entry]:
    real = {"": True}
    for path in paths:
        if not _is_real(folder, path.rstrip("/").rpartition("/")[0], real):
            continue
        try:
            status = os.lstat(folder / path.rstrip("/"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISDIR(status.st_mode):
            yield Entry(path.rstrip("/"), Kind.SUBMODULE, "", 0)
        elif stat.S_ISLNK(status.st_mode):
            yield Entry(path, Kind.SYMLINK, "", 0)
        elif stat.S_ISREG(status.st_mode):
            kind = Kind.EXECUTABLE if status.st_mode & stat.S_IXUSR else Kind.FILE
            yield Entry(path, kind, "", status.st_size)


def _is_real(folder: Path, above: str, known: dict[str, bool]) -> bool:
    """Whether `above` is a folder with no symlink on the way; git may still list what lay below one."""
    if above not in known:
        nearer = _is_real(folder, above.rpartition("/")[0], known)
        known[above] = nearer and (folder / above).is_dir() and not (folder / above).is_symlink()
    return known[above]


def _opened(folder: Path, path: str) -> IO[bytes]:
    """The file at `path`, opened step by step so that no symlink on the way is followed."""
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *above, name = path.split("/")
        for step in above:
            below = os.open(step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = below
        # A pipe or device that took the file's place must not hold anybody up.
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
        return open(file, "rb")
    except OSError as error:
        raise NoTree(f"{path} cannot be read: {error.strerror}") from None
    finally:
        os.close(here)
