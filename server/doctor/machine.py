"""What this machine is, has and allows."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from clowdy.schema.units import GIBIBYTE
from clowdy.server.config import Config, machine_memory_bytes
from clowdy.server.doctor.finding import Finding, State
from clowdy.server.errors import StartError
from clowdy.server.git.settings import find_binaries, git_version

FEW_FILES = 4096


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


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
