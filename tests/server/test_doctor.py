from __future__ import annotations

import os
import socket
import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from clowdy.runtimes.api import Driver, DriverUnavailable, Promise
from clowdy.runtimes.first import FirstDriver
from clowdy.server import doctor
from clowdy.server.config import Config
from clowdy.server.doctor import Finding, State
from clowdy.server.lock import DataLock
from clowdy.server.people.keys import FILE, load_keyring
from clowdy.server.store.engine import Store
from tests.runtimes.memory_driver import MemoryDriver

ENGINE_DOWN = "the engine is down. Cure: start the engine"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.load({"data_dir": str(tmp_path / "data")}, {})


def test_lost_calls_are_shown(config: Config) -> None:
    config.data_dir.mkdir()
    assert doctor.calls(config).found == "none yet"
    with sqlite3.connect(config.data_dir / "journal.db") as connection:
        connection.execute("CREATE TABLE state (rows INTEGER, lost INTEGER)")
        connection.execute("INSERT INTO state VALUES (1200, 0)")
    connection.close()
    assert doctor.calls(config) == Finding("calls", State.OK, "1,200 kept, none lost")
    with sqlite3.connect(config.data_dir / "journal.db") as connection:
        connection.execute("UPDATE state SET lost = 3")
    connection.close()
    assert doctor.calls(config).state is State.WARNING
    assert "3 lost" in doctor.calls(config).found


class FakeDriver:
    """A driver that opens, or says why not, and remembers what was done with it."""

    name = "sandbox"
    python = "3.11.2"
    base = ""
    trouble: str | None = None
    notice: str | None = None
    no_network: str | None = None

    def __init__(self, promises: frozenset[Promise], failure: str = "") -> None:
        self.promises = promises
        self.failure = failure
        self.events: list[str] = []

    async def open(self) -> None:
        self.events.append("open")
        if self.failure:
            raise DriverUnavailable(self.failure)

    async def close(self) -> None:
        self.events.append("close")


def as_driver(fake: FakeDriver) -> Driver:
    return cast("Driver", fake)


@dataclass
class Running:
    """The pool of a server."""

    driver: Driver
    unavailable: DriverUnavailable | None = None


async def test_everything_is_looked_at_and_the_driver_gets_a_folder_of_its_own(config: Config) -> None:
    fake, folders = FakeDriver(frozenset(Promise)), []

    def make(_: Config, folder: Path) -> Driver:
        folders.append(folder)
        return as_driver(fake)

    findings = await doctor.examine(config, make)

    names = {finding.name for finding in findings}
    assert {"clowdy", "git", "runtime", "limit", "docker", "database", "disk", "base domain"} <= names
    assert fake.events == ["open", "close"]
    assert folders[0] != config.data_dir
    assert not folders[0].exists()
    assert not config.data_dir.exists()


async def test_beside_a_running_server_its_own_driver_is_asked(config: Config) -> None:
    fake = FakeDriver(frozenset(Promise))

    found = await doctor.report(config, lambda *_: pytest.fail("a second driver"), Running(as_driver(fake)))

    assert found["ok"] is True
    assert fake.events == []
    assert {"name": "limit", "state": "ok", "found": "memory", "cure": ""} in found["findings"]


async def test_functions_that_cannot_run_in_the_server_that_asks_are_no_finding_of_its_driver(config: Config) -> None:
    driver = MemoryDriver(unavailable=ENGINE_DOWN, passing=True)
    with pytest.raises(DriverUnavailable) as refusal:
        await driver.open()
    tried = driver.tries
    running = Running(FirstDriver([driver]), refusal.value)

    found = await doctor.report(config, lambda *_: pytest.fail("a second driver"), running)

    assert found["ok"] is False
    assert [each for each in found["findings"] if each["name"] in ("runtime", "limit", "network")] == [
        Finding("runtime", State.MISSING, "the engine is down", "start the engine").as_json()
    ]
    assert driver.tries == tried


async def test_the_trouble_of_an_open_driver_comes_with_its_cure(config: Config) -> None:
    fake = FakeDriver(frozenset(Promise))
    fake.trouble = ENGINE_DOWN

    found = await doctor.report(config, lambda *_: pytest.fail("a second driver"), Running(as_driver(fake)))

    assert found["ok"] is False
    assert Finding("runtime", State.MISSING, "the engine is down", "start the engine").as_json() in found["findings"]
    fake.trouble = None
    assert (await doctor.report(config, lambda *_: as_driver(fake), Running(as_driver(fake))))["ok"] is True


async def test_a_sandbox_that_does_not_start_comes_with_its_cure(config: Config) -> None:
    fake = FakeDriver(frozenset(), "bubblewrap is not installed. Cure: apt-get install bubblewrap")

    found = await doctor.report(config, lambda *_: as_driver(fake))

    assert found["ok"] is False
    expected = Finding("runtime", State.MISSING, "bubblewrap is not installed", "apt-get install bubblewrap")
    assert expected.as_json() in found["findings"]
    assert fake.events == ["open", "close"]


def test_limits_that_do_not_hold_are_named_with_their_cure() -> None:
    kept = frozenset(Promise) - {Promise.MEMORY, Promise.CPU}

    findings = list(doctor.driver_findings(as_driver(FakeDriver(kept))))

    assert [finding.found for finding in findings if finding.state is State.WARNING] == [
        "memory: does not hold here",
        "cpu: does not hold here",
    ]
    assert all("Delegate=yes" in finding.cure for finding in findings if finding.state is State.WARNING)
    assert "memory is watched every 100 ms" in [finding.found for finding in findings]


def test_a_network_that_cannot_be_had_is_a_warning_with_its_cure() -> None:
    fake = FakeDriver(frozenset(Promise) - {Promise.CLOSED_NETWORK})
    fake.no_network = "passt is not installed. Cure: apt-get install passt"

    findings = list(doctor.driver_findings(as_driver(fake)))

    (found,) = [finding for finding in findings if finding.state is State.WARNING]
    assert found == Finding(
        "network", State.WARNING, "network: true is refused: passt is not installed", "apt-get install passt"
    )


def test_a_driver_without_isolation_is_a_warning() -> None:
    (finding,) = doctor.driver_findings(as_driver(FakeDriver(frozenset())))

    assert finding.state is State.WARNING
    assert "for development only" in finding.cure


def test_git_is_named_with_its_version_or_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.git().state is State.OK

    def missing() -> tuple[str, str]:
        from clowdy.server.errors import StartError

        raise StartError("git is not installed: apt-get install git")

    monkeypatch.setattr(doctor, "find_binaries", missing)
    assert doctor.git() == Finding("git", State.MISSING, "git is not installed", "apt-get install git")


@pytest.mark.parametrize(
    ("file", "content", "cure"),
    [
        ("sys/user/max_user_namespaces", "0", "user.max_user_namespaces"),
        ("sys/kernel/unprivileged_userns_clone", "0", "unprivileged_userns_clone=1"),
        ("sys/kernel/apparmor_restrict_unprivileged_userns", "1", ""),
        ("sys/kernel/other", "1", ""),
    ],
)
def test_what_the_kernel_forbids_is_named(tmp_path: Path, file: str, content: str, cure: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(content + "\n")

    finding = doctor.namespaces(tmp_path)

    assert cure in finding.cure
    assert (finding.state is State.OK) == (not cure)


def test_the_data_directory_is_named_with_who_uses_it(config: Config) -> None:
    assert "made at the first start" in doctor.data_directory(config).found

    with DataLock.acquire(config.data_dir):
        assert f"in use by process {os.getpid()}" in doctor.data_directory(config).found

    config.data_dir.chmod(0o755)
    assert doctor.data_directory(config).cure == f"chmod o-rwx {config.data_dir}"


async def test_the_database_is_read_and_left_alone(config: Config) -> None:
    assert doctor.database(config).state is State.OK
    assert not config.database.exists()

    config.data_dir.mkdir()
    await (await Store.open(config.database)).close()
    assert "tables of revision" in doctor.database(config).found

    with sqlite3.connect(config.database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert doctor.database(config).cure == "upgrade clowdy"

    config.database.write_bytes(b"not a database at all, and rather long" * 100)
    assert doctor.database(config).state is State.MISSING


def test_a_key_that_others_can_read_is_a_finding(config: Config) -> None:
    assert "first start" in doctor.secret_key(config).found
    assert not (config.data_dir / FILE).exists()

    load_keyring(config.data_dir)
    assert "-rw-------" in doctor.secret_key(config).found

    (config.data_dir / FILE).chmod(0o644)
    finding = doctor.secret_key(config)
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

    assert doctor.disk(config).state is state


def test_a_budget_that_the_machine_does_not_have_is_a_warning(config: Config) -> None:
    assert doctor.memory(config).state is State.OK
    assert doctor.memory(replace(config, memory_budget_bytes=1 << 60)).state is State.WARNING


def test_a_base_domain_needs_a_wildcard_record(config: Config) -> None:
    asked: list[str] = []
    own = replace(config, base_domain="apps.example")

    assert doctor.base_domain(config, lambda _: pytest.fail("localhost is not looked up")).state is State.OK
    assert doctor.base_domain(own, lambda name: bool(asked.append(name))).cure.startswith("add a DNS record *.apps")
    assert doctor.base_domain(own, lambda _: True).state is State.OK
    assert asked == ["clowdy-doctor.apps.example"]


@pytest.mark.parametrize(
    ("url", "state"),
    [
        ("http://127.0.0.1:8000", State.OK),
        ("https://clowdy.example", State.OK),
        ("http://clowdy.example", State.WARNING),
    ],
)
def test_tokens_should_travel_encrypted(config: Config, url: str, state: State) -> None:
    assert doctor.public_url(replace(config, public_url=url)).state is state


def test_the_socket_of_an_engine_is_named(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        assert doctor.docker({"DOCKER_HOST": f"unix://{path}"}) == Finding("docker", State.OK, f"unix://{path}")
    path.unlink()
    found = doctor.docker({"DOCKER_HOST": f"unix://{path}"})
    assert found.state is State.OK
    assert "no engine" in found.found


def test_layers_are_shown_with_their_sizes_the_largest_first(config: Config) -> None:
    assert [finding.found for finding in doctor.layers(config, {})] == ["none installed"]
    for digest, packages in (("ab" * 32, ["httpx-0.28"]), ("cd" * 32, [f"p{number}-1.0" for number in range(9)])):
        for package in packages:
            (config.layers / digest / f"{package}.dist-info").mkdir(parents=True)
            (config.layers / digest / f"{package}.dist-info" / "RECORD").write_bytes(b"x" * 8192)
    (config.layers / ".builds" / "unfinished").mkdir(parents=True)

    total, first, second = doctor.layers(config, {})

    assert total.found.startswith("2 layers, ")
    assert first.found.startswith("cdcdcdcdcdcd, ")
    assert first.found.endswith(": p0 1.0, p1 1.0, p2 1.0, p3 1.0, p4 1.0, p5 1.0, 3 more")
    assert second.found.endswith(": httpx 0.28")
