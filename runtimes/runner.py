"""The runner's files as an instance sees them, and which Python runs them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from clowdy.runtimes.api import DriverUnavailable

OLDEST = (3, 11)
_SOURCE = Path(__file__).with_name("inside")
_PACKAGE = "_clowdy"
# What is started by its path; the rest is imported.
_PROGRAMS = ("main.py", "enter.py")
# All that a sandbox has of /etc: without it the name `localhost` means nothing there.
_ETC = {
    "hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 function\n",
    # Programs and libraries ask who they are; psycopg does before it connects.
    "passwd": "function:x:1000:1000::/tmp:/bin/sh\n",
    "group": "function:x:1000:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    # The place for what names a resolver, where there is a network; no resolver answers where there is none.
    "resolv.conf": "",
}
_ASK = (
    "import sys; print(sys.version.partition(' ')[0], sys.version_info[0], sys.version_info[1], sys.prefix, sep='\\n')"
)


class Python(NamedTuple):
    """An interpreter for functions."""

    executable: str
    version: str
    prefix: str


def find_python(wanted: str | None, *, for_any_user: bool) -> Python:
    """The interpreter that functions get; blocks. Raises DriverUnavailable with what to do."""
    candidates = [wanted] if wanted else ["/usr/bin/python3", "/usr/local/bin/python3", _own()]
    reasons: list[str] = []
    for candidate in candidates:
        path = os.path.realpath(candidate)
        if not os.access(path, os.X_OK):
            reasons.append(f"{candidate} is not there")
        elif for_any_user and not readable_by_all(Path(path)):
            reasons.append(f"{candidate} cannot be read by the users that functions run as")
        else:
            try:
                answer = subprocess.run(
                    [path, "-I", "-S", "-c", _ASK], env={}, capture_output=True, check=True, text=True, timeout=20
                ).stdout.split("\n")
                version, major, minor, prefix = answer[:4]
            except (OSError, subprocess.SubprocessError, ValueError) as error:
                reasons.append(f"{candidate} does not run: {error}")
                continue
            if (int(major), int(minor)) >= OLDEST:
                return Python(path, version, prefix)
            reasons.append(f"{candidate} is Python {version}, and functions need 3.11 or later")
    raise DriverUnavailable("no Python for functions: " + "; ".join(reasons) + ". Cure: apt-get install python3")


def _own() -> str:
    return str(getattr(sys, "_base_executable", sys.executable))


def readable_by_all(path: Path) -> bool:
    """Whether any user may go through every folder above `path` and read it."""
    try:
        return all(folder.stat().st_mode & 0o001 for folder in path.parents) and bool(path.stat().st_mode & 0o004)
    except OSError:
        return False


def runner_sources() -> dict[str, bytes]:
    """The runner's files by their paths below its folder."""
    return {
        source.name if source.name in _PROGRAMS else f"{_PACKAGE}/{source.name}": source.read_bytes()
        for source in sorted(_SOURCE.glob("*.py"))
    }


def install_runner(folder: Path, python: Python) -> Path:
    """Puts the runner's files, compiled for `python`, into a folder of their own below `folder`; blocks.

    The folder's name is the hash of its content, so that a server of another version beside it keeps its own.
    """
    sources = runner_sources()
    digest = hashlib.sha256(python.version.encode())
    for name, source in sources.items():
        digest.update(name.encode() + b"\0" + source + b"\0")
    digest.update(repr(_ETC).encode())
    target = folder / f"runner-{digest.hexdigest()[:16]}"
    if (target / "complete").exists():
        return target
    shutil.rmtree(target, ignore_errors=True)
    (target / _PACKAGE).mkdir(parents=True)
    for name, source in sources.items():
        (target / name).write_bytes(source)
    # A place for certificates as well.
    (target / "etc" / "ssl" / "certs").mkdir(parents=True)
    for name, content in _ETC.items():
        (target / "etc" / name).write_text(content)
    try:
        # The files are never changed, so that Python need not look whether they were.
        compile_all = ["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(target)]
        subprocess.run([python.executable, "-I", "-S", *compile_all], env={}, check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise DriverUnavailable(f"the runner cannot be compiled with {python.executable}: {error}") from None
    (target / "complete").touch()
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o444)
    return target


def runner_arguments(python: Python, runner: str, processes: int) -> Sequence[str]:
    """How the runner is started; `processes` 0 sets no limit of processes."""
    return (python.executable, "-I", "-S", "-X", "utf8", f"{runner}/main.py", str(processes))
