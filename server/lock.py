"""One server per data directory: a locked file that says who holds it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from clowdy.schema.text import printable
from clowdy.server.errors import StartError

FILE = "lock"
_WAIT_SECONDS = 2.0
_STEP_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a data directory; `since` is in seconds since 1970, `url` where it answers, once it does."""

    pid: int
    host: str
    since: float
    command: str
    url: str = ""

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"process {self.pid} on {self.host} since {since} ({self.command})"


class DataLock:
    """Held from `acquire` until `release`, by this process and by children that inherit `descriptor`.

    A child that is still moving refs when the server is killed so keeps the next server from starting.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def acquire(cls, data_dir: Path, command: Sequence[str] | None = None) -> Self:
        """Makes the directory if it is missing and locks it; raises StartError that names the holder."""
        path = data_dir / FILE
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Never truncated before it is locked: it says who has it.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StartError(f"the data directory {data_dir} cannot be used: {error.strerror or error}") from None
        try:
            _lock(descriptor, data_dir)
            holder = Holder(os.getpid(), socket.gethostname(), time.time(), " ".join(command or sys.argv)[:500])
            lock = cls(descriptor)
            lock._write(holder)
        except BaseException:
            os.close(descriptor)
            raise
        return lock

    def announce(self, url: str) -> None:
        """Says where the server answers, for commands on this machine that must reach it."""
        holder = _holder(self.descriptor)
        if holder is not None:
            self._write(replace(holder, url=url))

    def _write(self, holder: Holder) -> None:
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, json.dumps(asdict(holder)).encode() + b"\n", 0)

    def release(self) -> None:
        """Lets another server have the directory. Safe to call twice."""
        if self.descriptor >= 0:
            os.ftruncate(self.descriptor, 0)
            # Closed, not unlocked: a child that inherited it holds on.
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def holder(data_dir: Path) -> Holder | None:
    """Who holds the directory now; None when nobody does."""
    try:
        descriptor = os.open(data_dir / FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(descriptor)
    finally:
        os.close(descriptor)
    return None


def _lock(descriptor: int, data_dir: Path) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            # A `doctor` that looks, or a last child of a server that was killed, is gone in a moment.
            if time.monotonic() > deadline:
                who = _holder(descriptor) or "a process that a server left behind"
                raise StartError(
                    f"the data directory {data_dir} is in use by {who}: stop it, or choose another --data-dir "
                    "(CLOWDY_DATA_DIR)"
                ) from None
            time.sleep(_STEP_SECONDS)
        except OSError as error:
            if error.errno != errno.ENOLCK:
                raise
            raise StartError(f"the file system of {data_dir} has no locks: choose another --data-dir") from None


def _holder(descriptor: int) -> Holder | None:
    try:
        content = json.loads(os.pread(descriptor, 4096, 0))
        return Holder(
            int(content["pid"]),
            printable(str(content["host"]), 100),
            float(content["since"]),
            printable(str(content["command"]), 200),
            printable(str(content.get("url", "")), 300),
        )
    except (ValueError, KeyError, TypeError):
        return None
