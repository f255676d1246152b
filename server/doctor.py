"""What this machine has and lacks for Clowdy, and how to mend it. Works without a running server, and beside one."""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import socket
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from clowdy.runtimes.api import Driver, DriverUnavailable, Promise
from clowdy.runtimes.docker.engine import find_address
from clowdy.runtimes.sandbox.driver import DELEGATE
from clowdy.schema.units import GIBIBYTE, MEBIBYTE
from clowdy.server.config import Config, machine_memory_bytes
from clowdy.server.errors import ClowdyError, StartError
from clowdy.server.git.settings import find_binaries, git_version
from clowdy.server.installed import images_of, installed
from clowdy.server.lock import holder
from clowdy.server.people.keys import FILE as KEY_FILE
from clowdy.server.people.keys import load_keyring
from clowdy.server.store.migrate import newest

LOW_DISK_BYTES = 2 * GIBIBYTE
FULL_DISK_BYTES = 200 * MEBIBYTE
FEW_INODES = 50_000
FEW_FILES = 4096
DRIVER_SECONDS = 30.0

MakeDriver = Callable[[Config, Path], Driver]
"""The driver that the settings choose, keeping its files below the folder that it is given."""


class Running(Protocol):
    """What functions run in, in the server that asks: as its pool says."""

    @property
    def driver(self) -> Driver:
        """Open, unless it is `unavailable`."""
        ...

    @property
    def unavailable(self) -> DriverUnavailable | None:
        """Why it is not open."""
        ...


class State(StrEnum):
    """How well something is: MISSING keeps the server, or every function, from running."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what was found, and what to do where that is not enough."""

    name: str
    state: State
    found: str
    cure: str = ""

    def as_json(self) -> dict[str, str]:
        """The object that the API shows."""
        return asdict(self) | {"state": self.state.value}


async def examine(config: Config, make_driver: MakeDriver, running: Running | None = None) -> list[Finding]:
    """Everything, in the order in which it is worth mending; `running` where a server asks of itself."""
    findings = await asyncio.to_thread(lambda: [*versions(), git()])
    images: Mapping[str, int] = {}
    if running is not None and running.unavailable is not None:
        findings.append(_cannot_run(str(running.unavailable)))
    elif running is not None:
        findings += driver_findings(running.driver)
        images = images_of(config, running.driver)
    else:
        tried, images = await _trial(config, make_driver)
        findings += tried
    return findings + await asyncio.to_thread(lambda: _machine(config, images))


async def report(config: Config, make_driver: MakeDriver, running: Running | None = None) -> Mapping[str, Any]:
    """What `examine` found, as the API shows it."""
    findings = await examine(config, make_driver, running)
    return {
        "ok": all(finding.state is not State.MISSING for finding in findings),
        "findings": [finding.as_json() for finding in findings],
    }


def versions() -> Iterator[Finding]:
    """What is running."""
    yield Finding("clowdy", State.OK, f"{version('clowdy')} on Python {platform.python_version()}")
    yield Finding("system", State.OK, f"Linux {platform.release()}, {platform.machine()}, {os.cpu_count()} cores")


def git() -> Finding:
    """Whether git can carry pushes durably."""
    try:
        binary, _ = find_binaries()
        number = ".".join(str(part) for part in git_version(binary))
    except StartError as error:
        found, _, cure = error.message.partition(": ")
        return Finding("git", State.MISSING, found, cure or "apt-get install git")
    return Finding("git", State.OK, f"{number} ({binary})")


def driver_findings(driver: Driver) -> Iterator[Finding]:
    """What an open driver keeps on this machine, one line for each promise."""
    isolates = bool(driver.promises)
    if driver.trouble is not None:
        yield _cannot_run(driver.trouble)
    yield Finding(
        "runtime",
        State.OK if isolates else State.WARNING,
        f"{driver.name}, functions get Python {driver.python}",
        "" if isolates else "nothing isolates functions: for development only; apt-get install bubblewrap",
    )
    if not isolates:
        return
    yield _network(driver)
    cure = f"{DELEGATE}, or run the server as root"
    for promise in Promise:
        if promise in driver.promises:
            yield Finding("limit", State.OK, promise.value)
        elif promise is Promise.OWN_USER:
            yield Finding("limit", State.OK, f"{promise.value}: not needed, the server has no rights of its own")
        elif promise not in (Promise.MEMORY_WATCHED, Promise.CLOSED_NETWORK):
            yield Finding("limit", State.WARNING, f"{promise.value}: does not hold here", cure)


def _cannot_run(why: str) -> Finding:
    found, _, cure = why.partition(" Cure: ")
    return Finding("runtime", State.MISSING, found.rstrip("."), cure)


def _network(driver: Driver) -> Finding:
    reason, _, cure = (driver.no_network or "").partition(" Cure: ")
    if reason:
        return Finding("network", State.WARNING, f"network: true is refused: {reason.rstrip('.')}", cure)
    return Finding("network", State.OK, "network: true can be had")


def namespaces(proc: Path = Path("/proc")) -> Finding:
    """Whether the kernel lets an ordinary user make namespaces."""
    name = "user namespaces"
    if _read(proc / "sys/user/max_user_namespaces") == "0":
        return Finding(name, State.WARNING, "forbidden", "sysctl -w user.max_user_namespaces=15000")
    if _read(proc / "sys/kernel/unprivileged_userns_clone") == "0":
        return Finding(name, State.WARNING, "forbidden to users", "sysctl -w kernel.unprivileged_userns_clone=1")
    if _read(proc / "sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return Finding(name, State.OK, "restricted by AppArmor to programs with a profile, as make setup installs one")
    return Finding(name, State.OK, "allowed")


def docker(environ: Mapping[str, str] = os.environ) -> Finding:
    """Whether there is the socket of a Docker Engine; that one is needed and does not answer is told of the runtime."""
    address = find_address(environ)
    if Path(address.removeprefix("unix://")).is_socket():
        return Finding("docker", State.OK, address)
    return Finding("docker", State.OK, f"no engine at {address} (the sandbox needs none)")


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


def memory(config: Config) -> Finding:
    """Whether the machine has what functions may use."""
    total = machine_memory_bytes()
    found = f"{config.memory_budget_bytes / GIBIBYTE:.1f} GB for functions, of {total / GIBIBYTE:.1f} GB"
    if config.memory_budget_bytes > total * 9 // 10:
        return Finding("memory", State.WARNING, found, "choose a smaller --memory-budget")
    return Finding("memory", State.OK, found)


def open_files() -> Finding:
    """Whether enough connections and instances can be open at once."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FEW_FILES:
        return Finding("open files", State.WARNING, f"at most {hard}", f"ulimit -Hn {FEW_FILES * 16}, or LimitNOFILE=")
    return Finding("open files", State.OK, "unlimited" if hard == resource.RLIM_INFINITY else f"at most {hard}")


def base_domain(config: Config, resolve: Callable[[str], bool] | None = None) -> Finding:
    """Whether the host names of projects lead somewhere."""
    domain = config.base_domain
    found = f"PROJECT.{domain}"
    if domain == "localhost" or domain.endswith(".localhost"):
        return Finding("base domain", State.OK, f"{found} (browsers know it; other programs may need a Host header)")
    if (resolve or _resolves)(f"clowdy-doctor.{domain}"):
        return Finding("base domain", State.OK, found)
    cure = f"add a DNS record *.{domain} that points here"
    return Finding("base domain", State.WARNING, f"{found} does not resolve", cure)


def public_url(config: Config) -> Finding:
    """Whether tokens travel encrypted."""
    host = urlsplit(config.public_url).hostname or ""
    is_local = host in {"localhost", "::1"} or host.startswith("127.") or host.endswith(".localhost")
    if config.public_url.startswith("https:") or is_local:
        return Finding("public URL", State.OK, config.public_url)
    cure = "put a proxy that speaks https in front, and say so with --public-url and --trust-proxy"
    return Finding("public URL", State.WARNING, f"{config.public_url} sends tokens unencrypted", cure)


def _ask(path: Path, query: str) -> tuple[Any, ...] | None:
    """One row of a database, read only: a server may be using it. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2)
    try:
        row: tuple[Any, ...] | None = connection.execute(query).fetchone()
        return row
    finally:
        connection.close()


def _machine(config: Config, images: Mapping[str, int]) -> list[Finding]:
    return [
        namespaces(),
        docker(),
        data_directory(config),
        database(config),
        calls(config),
        secret_key(config),
        *layers(config, images),
        disk(config),
        memory(config),
        open_files(),
        base_domain(config),
        public_url(config),
    ]


async def _trial(config: Config, make_driver: MakeDriver) -> tuple[list[Finding], Mapping[str, int]]:
    # A folder of its own: opening a driver clears what an earlier server left, and one may be running.
    with tempfile.TemporaryDirectory(prefix="clowdy-doctor-") as folder:
        # What functions run as must be able to pass it, as they pass the folders of a data directory.
        Path(folder).chmod(0o711)
        driver = make_driver(config, Path(folder))
        try:
            async with asyncio.timeout(DRIVER_SECONDS):
                await driver.open()
            return list(driver_findings(driver)), images_of(config, driver)
        except DriverUnavailable as error:
            return [_cannot_run(str(error))], {}
        except TimeoutError:
            return [Finding("runtime", State.MISSING, f"did not start within {DRIVER_SECONDS:.0f} s", "try again")], {}
        finally:
            await driver.close()


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except (OSError, UnicodeError):
        return False
    return True


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
