"""The shared libraries that programs of this machine need."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.docker.root_filesystem import RootFilesystem

# What is loaded by name at run time, by libc itself or by wheels, which rely on every system to have it.
_LOADED_LATER = (
    "libatomic.so.1",
    "libcrypt.so.1",
    "libdl.so.2",
    "libexpat.so.1",
    "libgcc_s.so.1",
    "libgomp.so.1",
    "libm.so.6",
    "libmvec.so.1",
    "libnss_dns.so.2",
    "libnss_files.so.2",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libstdc++.so.6",
    "libutil.so.1",
    "libz.so.1",
)
# `libz.so.1 => /lib/libz.so.1 (0x7f…)`, and for the loader its path alone.
_LINE = re.compile(r"\s(?:(?P<name>\S+) => )?(?P<path>/.*) \(0x[0-9a-f]+\)")
_SECONDS = 120


def find_libraries(programs: Iterable[Path]) -> Mapping[str, Path]:
    """The library behind each name that `programs` and what they load need, the loader included; blocks.

    Programs and libraries must be the system's: asking starts their loader. Raises DriverUnavailable.
    """
    needed = _needed(sorted(programs))
    folders = sorted({path.parent for path in needed.values()})
    later = [found for name in _LOADED_LATER if (found := _first(name, folders)) is not None]
    return dict(sorted((_needed(later) | {path.name: path for path in later} | needed).items()))


def copy_libraries(root: RootFilesystem, libraries: Mapping[str, Path]) -> None:
    """Copies what was found, so that a loader without this machine's cache of names finds it as well."""
    for path in libraries.values():
        root.copy(path)
    # Where it has libc from the loader looks without being told.
    folder = next((path.parent.resolve() for name, path in libraries.items() if name.startswith("libc.so.")), None)
    if folder is not None:
        for name, path in libraries.items():
            if "/" not in name:
                root.link(folder / name, path)


def _first(name: str, folders: Iterable[Path]) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).exists()), None)


def _needed(files: Iterable[Path]) -> dict[str, Path]:
    ldd = shutil.which("ldd")
    if ldd is None:
        raise DriverUnavailable(
            "ldd, which knows the libraries of a program, is not there. Cure: apt-get install libc-bin"
        )
    try:
        # No variable of this process decides where libraries are found; a file that has none ends it with status 1.
        asked = subprocess.run(
            [ldd, *map(str, files)],
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            capture_output=True,
            check=False,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise DriverUnavailable(f"ldd did not say within {_SECONDS} s which libraries Python needs") from None
    found: dict[str, Path] = {}
    for line in asked.stdout.splitlines():
        if match := _LINE.fullmatch(line):
            path = Path(match["path"])
            found.setdefault(match["name"] or path.name, path)
    return found
