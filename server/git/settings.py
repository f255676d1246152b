"""What the server's git needs to know: which binaries, which hooks, how much a push may bring."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from clowdy.schema.units import MEBIBYTE
from clowdy.server.config import PushLimits
from clowdy.server.errors import StartError
from clowdy.server.git.environment import SEARCH_PATH

MINIMUM_GIT = (2, 36)


@dataclass(frozen=True, slots=True)
class GitSettings:
    """The binaries and limits of every git process.

    `hooks` is the folder that `core.hooksPath` names. `lock_fd` is the data directory's lock, which a process that
    moves refs inherits so that no other server starts beside it.
    """

    git: str
    setpriv: str
    hooks: Path
    limits: PushLimits = field(default_factory=PushLimits)
    lock_fd: int | None = None
    pushes: int = 64
    fetches: int = 16
    memory_bytes: int = 1024 * MEBIBYTE
    cpu_seconds: int = 300
    stall_seconds: float = 30.0


def shown_size(count: int) -> str:
    """A number of bytes as limits are told: `256 MB`, `64 KB`."""
    return f"{count // MEBIBYTE} MB" if count >= MEBIBYTE else f"{count // 1024} KB"


def find_binaries() -> tuple[str, str]:
    """The absolute paths of `git` and `setpriv`; raises StartError saying what is missing or too old."""
    git = shutil.which("git", path=SEARCH_PATH)
    if git is None:
        raise StartError("git is not installed: apt-get install git")
    setpriv = shutil.which("setpriv", path=SEARCH_PATH)
    if setpriv is None:
        raise StartError("setpriv is not installed: apt-get install util-linux")
    version = git_version(git)
    if version < MINIMUM_GIT:
        wanted = ".".join(str(part) for part in MINIMUM_GIT)
        raise StartError(f"git {'.'.join(str(part) for part in version)} is too old, {wanted} or newer is needed")
    return git, setpriv


def git_version(git: str) -> tuple[int, ...]:
    """The version that a git binary says it has; raises StartError when it cannot be run."""
    try:
        answer = subprocess.run([git, "--version"], capture_output=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise StartError(f"{git} cannot be run: {error}") from None
    found = re.search(rb"git version (\d+)\.(\d+)(?:\.(\d+))?", answer)
    if found is None:
        raise StartError(f"{git} does not say its version")
    return tuple(int(part) for part in found.groups() if part is not None)
