"""What a server keeps, and the room there is for it."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clowdy.schema.units import GIBIBYTE, MEBIBYTE
from clowdy.server.config import Config
from clowdy.server.doctor.finding import Finding, State
from clowdy.server.errors import ClowdyError
from clowdy.server.installed import installed
from clowdy.server.lock import holder
from clowdy.server.people.keys import FILE as KEY_FILE
from clowdy.server.people.keys import load_keyring
from clowdy.server.store.migrate import newest

LOW_DISK_BYTES = 2 * GIBIBYTE
FULL_DISK_BYTES = 200 * MEBIBYTE
FEW_INODES = 50_000


def data_directory(config: Config) -> Finding:
    """Whether the data directory can be used, and who does."""
    name, path = "data directory", config.data_dir
    if not path.exists():
        parent = _existing(path)
        if os.access(parent, os.W_OK | os.X_OK):
            return Finding(name, State.OK, f"{path} (made at the first start)")
        return Finding(name, State.MISSING, f"{parent} cannot be written", "choose another --data-dir")
    if not path.is_dir() or not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return Finding(name, State.MISSING, f"{path} cannot be used", f"chown -R {os.getuid()} {path}")
    if path.stat().st_mode & 0o007:
        return Finding(name, State.WARNING, f"{path} can be entered by everybody", f"chmod o-rwx {path}")
    used_by = holder(path)
    return Finding(name, State.OK, f"{path}" + (f", in use by {used_by}" if used_by else ""))


def database(config: Config) -> Finding:
    """Whether the store can be read, and its tables are those of this version."""
    name, path = "database", config.database
    if not path.exists():
        return Finding(name, State.OK, "made at the first start")
    try:
        row = _ask(path, "SELECT version_num FROM alembic_version")
    except sqlite3.Error as error:
        return Finding(name, State.MISSING, f"{path}: {error}", "restore a backup, or clowdy reconcile with a new file")
    found, known = row[0] if row else "none", newest() or "none"
    if found == known:
        return Finding(name, State.OK, f"SQLite {sqlite3.sqlite_version}, tables of revision {found}")
    if found > known:
        return Finding(name, State.MISSING, f"tables of revision {found}, this version knows {known}", "upgrade clowdy")
    return Finding(name, State.OK, f"tables of revision {found}, brought to {known} at the next start")


def calls(config: Config) -> Finding:
    """How many calls are kept, and whether any were lost to a full disk or a power cut."""
    name, path = "calls", config.data_dir / "journal.db"
    if not path.exists():
        return Finding(name, State.OK, "none yet")
    try:
        row = _ask(path, "SELECT rows, lost FROM state")
    except sqlite3.Error as error:
        return Finding(name, State.WARNING, f"{path}: {error}", "move the file away: a new one is made at the start")
    kept, lost = row or (0, 0)
    if lost:
        return Finding(name, State.WARNING, f"{kept:,} kept, {lost:,} lost", "make room on the disk")
    return Finding(name, State.OK, f"{kept:,} kept, none lost")


def secret_key(config: Config) -> Finding:
    """Whether secrets can be opened by the server, and by nobody else."""
    name, path = "secret key", config.data_dir / KEY_FILE
    if config.secret_key is not None:
        return Finding(name, State.OK, "CLOWDY_SECRET_KEY")
    if not path.exists():
        return Finding(name, State.OK, "made at the first start")
    try:
        load_keyring(config.data_dir)
    except ClowdyError as error:
        found, _, cure = error.message.partition(": ")
        return Finding(name, State.MISSING, found, cure)
    except OSError as error:
        return Finding(name, State.MISSING, f"{path}: {error.strerror}", f"chown {os.getuid()} {path}")
    return Finding(name, State.OK, f"{path}, {stat.filemode(path.stat().st_mode)}")


def layers(config: Config, images: Mapping[str, int]) -> Iterator[Finding]:
    """What is installed for functions, one line for each layer and image, the largest first."""
    try:
        yield from (Finding(name, State.OK, found) for name, found in installed(config, images))
    except OSError as error:
        yield Finding(
            "requirements", State.WARNING, f"{config.layers}: {error.strerror}", "run it as the server's user"
        )


def disk(config: Config) -> Finding:
    """Whether there is room for pushes and logs."""
    folder = _existing(config.data_dir)
    system = os.statvfs(folder)
    free = system.f_bavail * system.f_frsize
    found = f"{free / GIBIBYTE:.1f} GB free at {folder}"
    cure = "make room, or choose a --data-dir on another disk"
    if free < FULL_DISK_BYTES:
        return Finding("disk", State.MISSING, found, cure)
    if free < LOW_DISK_BYTES:
        return Finding("disk", State.WARNING, found, cure)
    # Some file systems have no fixed number of inodes, and say 0 of 0.
    if system.f_files and system.f_favail < FEW_INODES:
        return Finding("disk", State.WARNING, f"{system.f_favail} files can be made at {folder}", cure)
    return Finding("disk", State.OK, found)


def _ask(path: Path, query: str) -> tuple[Any, ...] | None:
    """One row of a database, read only: a server may be using it. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2)
    try:
        row: tuple[Any, ...] | None = connection.execute(query).fetchone()
        return row
    finally:
        connection.close()


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
