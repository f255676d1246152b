"""Files that calls are appended to before their answer's last byte, until the archive has them.

A record is length, crc32 and payload. What is appended at once is written by one system call, so that a `kill -9` at
any moment leaves whole records and at most one torn tail, which is cut at the next start. Files are numbered; each
start and each rotation begins a new one, so that what is being read and what is being written never get in each
other's way.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

log = logging.getLogger(__name__)

_FRAME = struct.Struct("<II")
_SUFFIX = ".spool"

RECORD_BYTES = 1024 * 1024
"""More than the largest record has: a length beyond it is damage."""

BACKLOG_BYTES = 256 * 1024 * 1024
"""How much may wait when the archive cannot be written."""


class Position(NamedTuple):
    """A place in the spool: a file's number and an offset in it. Later places compare as greater."""

    file: int
    offset: int


class Piece(NamedTuple):
    """Records read from the spool, their `size` there, and the place behind them.

    `damaged` counts places where something was lost.
    """

    payloads: list[bytes]
    end: Position
    size: int
    damaged: int


class Spool:
    """The spool of one folder. `append` is called on one thread, `read` and `forget` on another."""

    def __init__(self, folder: Path, first: int, backlog_bytes: int) -> None:
        self.folder = folder
        self._number = first
        self._size = 0
        self._allowed = backlog_bytes
        self._descriptor = self._create(first)

    @classmethod
    def open(cls, folder: Path, done: Position, *, backlog_bytes: int = BACKLOG_BYTES) -> Self:
        """The spool, its torn tails cut, its files before `done` removed; what is written goes to a new file."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        newest = done.file
        for number, path in _files(folder):
            newest = max(newest, number)
            if number < done.file:
                path.unlink()
            else:
                _cut_tail(path, done.offset if number == done.file else 0)
        return cls(folder, newest + 1, backlog_bytes)

    def append(self, payload: bytes) -> bool:
        """Writes one record; says False when it could not be written, or too much waits already."""
        return self.extend((payload,))

    def extend(self, payloads: Sequence[bytes]) -> bool:
        """Writes records in one system call, all or none; says False for none."""
        parts: list[bytes] = []
        for payload in payloads:
            parts.append(_FRAME.pack(len(payload), zlib.crc32(payload)))
            parts.append(payload)
        data = b"".join(parts)
        total = len(data)
        if total > self._allowed:
            return False
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            self._undo(error)
            return False
        if written != total:
            self._undo(None)
            return False
        self._size += total
        self._allowed -= total
        return True

    def _undo(self, error: OSError | None) -> None:
        """Takes back what a failed write left, so that the file stays whole."""
        log.error("a call could not be recorded: %s", error or "the disk is full")
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            self.rotate()

    @property
    def end(self) -> Position:
        """Where the next record goes."""
        return Position(self._number, self._size)

    @property
    def size(self) -> int:
        """The bytes in the file that is being written."""
        return self._size

    def rotate(self) -> None:
        """Goes on in a new file. If there can be none, in the old one."""
        try:
            descriptor = self._create(self._number + 1)
        except OSError as error:
            log.error("the spool cannot begin a new file: %s", error)
            return
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._number += 1
        self._size = 0

    def read(self, start: Position, end: Position, most_bytes: int) -> Piece:
        """See `read_spool`."""
        return read_spool(self.folder, start, end, most_bytes)

    def settle(self, size: int) -> None:
        """The archive has `size` bytes more: as many may be written."""
        self._allowed += size

    def forget(self, done: Position) -> None:
        """Removes the files of which the archive has everything. Blocks."""
        for number, path in _files(self.folder):
            if number < done.file:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Closes the file; what is appended later is refused."""
        self._allowed = 0
        os.close(self._descriptor)

    def _create(self, number: int) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        return os.open(_path(self.folder, number), flags, 0o600)


def read_spool(folder: Path, start: Position, end: Position, most_bytes: int) -> Piece:
    """Records from `start` on, none beyond `end`, and about `most_bytes` of them. Blocks."""
    payloads: list[bytes] = []
    size = damaged = 0
    while start < end and size < most_bytes:
        limit = end.offset if start.file == end.file else None
        offset, complete = _read_file(_path(folder, start.file), start.offset, limit, most_bytes - size, payloads)
        size += offset - start.offset
        start = Position(start.file, offset)
        if size < most_bytes and start < end:
            if not complete:
                damaged += 1
                log.error("the spool is damaged: file %d at %d", start.file, start.offset)
            start = end if start.file == end.file else Position(start.file + 1, 0)
    return Piece(payloads, start, size, damaged)


def _read_file(path: Path, offset: int, limit: int | None, most_bytes: int, payloads: list[bytes]) -> tuple[int, bool]:
    """Adds the records of one file from `offset` on; returns where it stopped, and whether that is the file's end."""
    start = offset
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        # A number that was never used; the file that is being written should be there.
        return offset, limit is None
    with open(descriptor, "rb", buffering=0) as file:
        size = os.fstat(descriptor).st_size if limit is None else limit
        wanted = min(size - offset, most_bytes + RECORD_BYTES)
        data = os.pread(file.fileno(), wanted, offset) if wanted > 0 else b""
    for payload in _records(data):
        payloads.append(payload)
        offset += len(payload) + _FRAME.size
        if offset - start >= most_bytes:
            break
    return offset, offset >= size


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}{_SUFFIX}"


def _files(folder: Path) -> list[tuple[int, Path]]:
    return sorted((int(path.stem), path) for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())


def _records(data: bytes) -> Iterator[bytes]:
    """The whole records at the beginning of `data`."""
    offset = 0
    while offset + _FRAME.size <= len(data):
        length, crc = _FRAME.unpack_from(data, offset)
        payload = data[offset + _FRAME.size : offset + _FRAME.size + length]
        # An empty record would be eight zero bytes, as a power cut leaves them.
        if not length or len(payload) < length or zlib.crc32(payload) != crc:
            return
        yield payload
        offset += _FRAME.size + length


def _cut_tail(path: Path, offset: int) -> None:
    """Cuts what follows the last whole record from `offset` on."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        while offset < size:
            file.seek(offset)
            data = file.read(4 * RECORD_BYTES)
            length = sum(len(payload) + _FRAME.size for payload in _records(data))
            if not length:
                log.warning("%d bytes of a torn record were cut from %s", size - offset, path.name)
                file.truncate(offset)
                return
            offset += length
