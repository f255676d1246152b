"""The files of an image that is made from this machine's own, and the tar that they become."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class _Folder:
    mode: int


@dataclass(frozen=True, slots=True)
class _Link:
    target: str


@dataclass(frozen=True, slots=True)
class _File:
    source: Path | bytes
    executable: bool


class RootFilesystem:
    """Absolute paths and what lies there. Links of this machine that lead to a file stay links.

    Of this machine's files nothing but the content and whether they can be executed counts.
    """

    def __init__(self) -> None:
        self._entries: dict[Path, _Folder | _Link | _File] = {}

    def folder(self, path: Path, mode: int = 0o755) -> None:
        """An empty folder, whatever this machine has there."""
        self._entries[self._enter(path.parent) / path.name] = _Folder(mode)

    def top_folder(self, name: str) -> None:
        """What this machine has in its root by this name, an empty folder or a link; nothing where it has neither."""
        if Path("/", name).is_dir():
            self._enter(Path("/", name))

    def text(self, path: Path, content: str) -> None:
        """A file of this content, whatever this machine has there."""
        self._entries[self._enter(path.parent) / path.name] = _File(content.encode(), executable=False)

    def link(self, path: Path, target: Path) -> None:
        """A link, unless something is there already. It is relative, so that it holds below any root."""
        place = self._enter(path.parent) / path.name
        self._entries.setdefault(place, _Link(os.path.relpath(target, place.parent)))

    def copy(self, path: Path, source: Path | None = None) -> None:
        """The file at `path` of this machine, or the one at `source`."""
        place = self._enter(path.parent) / path.name
        if place in self._entries:
            return
        if source is None and place.is_symlink():
            real = place.resolve(strict=True)
            self.link(place, real)
            self.copy(real)
            return
        source = source or place
        self._entries[place] = _File(source, executable=os.access(source, os.X_OK))

    def copy_folder(self, path: Path, leave_out: Callable[[Path], bool]) -> None:
        """All files below `path`, less those and the folders for which `leave_out` says so. No link is followed."""
        for parent, folders, files in os.walk(path):
            here = Path(parent)
            folders[:] = [name for name in folders if not leave_out(here / name)]
            for name in files:
                # A link that leads nowhere here leads nowhere there.
                if not leave_out(here / name) and (here / name).is_file():
                    self.copy(here / name)

    def _enter(self, folder: Path) -> Path:
        """Where a folder is without links, of which those of this machine on the way are taken over."""
        place = Path("/")
        for part in folder.parts[1:]:
            step = place / part
            if step not in self._entries and step.is_symlink():
                self._entries[step] = _Link(os.path.relpath(step.resolve(), place))
            entry = self._entries.setdefault(step, _Folder(0o755))
            place = self._enter(Path(os.path.normpath(place / entry.target))) if isinstance(entry, _Link) else step
        return place

    def files(self) -> list[Path]:
        """Where its files are, in order."""
        return sorted(path for path, entry in self._entries.items() if isinstance(entry, _File))

    def write(self, target: BinaryIO) -> str:
        """The SHA-256 of the tar that is written: equal files make an equal one. Blocks."""
        hashing = _Hashing(target)
        with tarfile.open(fileobj=hashing, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for path in sorted(self._entries):
                _add(archive, str(path).lstrip("/"), self._entries[path])
        return hashing.digest.hexdigest()


class _Hashing(io.RawIOBase):
    def __init__(self, target: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self._target = target

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self.digest.update(data)
        return self._target.write(data)


def _add(archive: tarfile.TarFile, name: str, entry: _Folder | _Link | _File) -> None:
    # Owner 0 and time 0 are what a new one has.
    info = tarfile.TarInfo(name)
    match entry:
        case _Folder(mode):
            info.type, info.mode = tarfile.DIRTYPE, mode
            archive.addfile(info)
        case _Link(target):
            info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, target
            archive.addfile(info)
        case _File(source, executable):
            info.mode = 0o755 if executable else 0o644
            with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as content:
                info.size = content.seek(0, io.SEEK_END)
                content.seek(0)
                archive.addfile(info, content)
