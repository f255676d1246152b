from __future__ import annotations

import os
import sqlite3
from types import SimpleNamespace
from typing import Any

import pytest

from clowdy.server.config import Config
from clowdy.server.doctor import data
from clowdy.server.doctor.finding import Finding, State
from clowdy.server.lock import DataLock
from clowdy.server.people.keys import FILE, load_keyring
from clowdy.server.store.engine import Store


def test_lost_calls_are_shown(config: Config) -> None:
    config.data_dir.mkdir()
    assert data.calls(config).found == "none yet"
    with sqlite3.connect(config.data_dir / "journal.db") as connection:
        connection.execute("CREATE TABLE state (rows INTEGER, lost INTEGER)")
        connection.execute("INSERT INTO state VALUES (1200, 0)")
    connection.close()
    assert data.calls(config) == Finding("calls", State.OK, "1,200 kept, none lost")
    with sqlite3.connect(config.data_dir / "journal.db") as connection:
        connection.execute("UPDATE state SET lost = 3")
    connection.close()
    assert data.calls(config).state is State.WARNING
    assert "3 lost" in data.calls(config).found


def test_the_data_directory_is_named_with_who_uses_it(config: Config) -> None:
    assert "made at the first start" in data.data_directory(config).found

    with DataLock.acquire(config.data_dir):
        assert f"in use by process {os.getpid()}" in data.data_directory(config).found

    config.data_dir.chmod(0o755)
    assert data.data_directory(config).cure == f"chmod o-rwx {config.data_dir}"


async def test_the_database_is_read_and_left_alone(config: Config) -> None:
    assert data.database(config).state is State.OK
    assert not config.database.exists()

    config.data_dir.mkdir()
    await (await Store.open(config.database)).close()
    assert "tables of revision" in data.database(config).found

    with sqlite3.connect(config.database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert data.database(config).cure == "upgrade clowdy"

    config.database.write_bytes(b"not a database at all, and rather long" * 100)
    assert data.database(config).state is State.MISSING


def test_a_key_that_others_can_read_is_a_finding(config: Config) -> None:
    assert "first start" in data.secret_key(config).found
    assert not (config.data_dir / FILE).exists()

    load_keyring(config.data_dir)
    assert "-rw-------" in data.secret_key(config).found

    (config.data_dir / FILE).chmod(0o644)
    finding = data.secret_key(config)
    assert finding.state is State.MISSING
    assert finding.cure.startswith("chmod 600")


@pytest.mark.parametrize(
    ("free", "inodes", "state"),
    [
        (100 << 30, 10**6, State.OK),
        (1 << 30, 10**6, State.WARNING),
        (1 << 20, 10**6, State.MISSING),
        (100 << 30, 10, State.WARNING),
    ],
)
def test_a_full_disk_is_noticed_before_it_is_full(
    config: Config, monkeypatch: pytest.MonkeyPatch, free: int, inodes: int, state: State
) -> None:
    system: Any = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_files=10**7, f_favail=inodes)
    monkeypatch.setattr(os, "statvfs", lambda _: system)

    assert data.disk(config).state is state


def test_layers_are_shown_with_their_sizes_the_largest_first(config: Config) -> None:
    assert [finding.found for finding in data.layers(config, {})] == ["none installed"]
    for digest, packages in (("ab" * 32, ["httpx-0.28"]), ("cd" * 32, [f"p{number}-1.0" for number in range(9)])):
        for package in packages:
            (config.layers / digest / f"{package}.dist-info").mkdir(parents=True)
            (config.layers / digest / f"{package}.dist-info" / "RECORD").write_bytes(b"x" * 8192)
    (config.layers / ".builds" / "unfinished").mkdir(parents=True)

    total, first, second = data.layers(config, {})

    assert total.found.startswith("2 layers, ")
    assert first.found.startswith("cdcdcdcdcdcd, ")
    assert first.found.endswith(": p0 1.0, p1 1.0, p2 1.0, p3 1.0, p4 1.0, p5 1.0, 3 more")
    assert second.found.endswith(": httpx 0.28")
