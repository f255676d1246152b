"""What belongs to a Python of this machine: where its parts lie, and its standard library compiled."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.runner import Python

# Of a virtual environment's interpreter it tells of the one behind it.
_ASK = """
import json, sys, zoneinfo
try:
    import ssl
    certificates = ssl.get_default_verify_paths().openssl_cafile
except ImportError:
    certificates = None
print(json.dumps([sys._base_executable, sys.path, sys.implementation.cache_tag, certificates, zoneinfo.TZPATH]))
"""
# Times are not looked at, for they are not the same in an image; nor is the source, for nothing changes it there.
_COMPILE = """
import json, os, py_compile, sys
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
for source, target in json.load(sys.stdin):
    try:
        py_compile.compile(source, cfile=target, doraise=True, invalidation_mode=mode)
    except (py_compile.PyCompileError, SyntaxError, ValueError):
        pass
"""
_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Interpreter:
    """`library` are the files and folders that it imports the standard library from.

    `certificates` is the file in which its OpenSSL looks for whom to trust, `zones` the folders of time zones.
    """

    executable: Path
    library: tuple[Path, ...]
    cache_tag: str
    certificates: Path | None
    zones: tuple[Path, ...]

    def compiled_path(self, source: Path) -> Path:
        """Where it looks for the compiled form of a module."""
        return source.parent / "__pycache__" / f"{source.stem}.{self.cache_tag}.pyc"


def find_interpreter(python: Python) -> Interpreter:
    """Where the parts of `python` lie; blocks. Raises DriverUnavailable."""
    answer = _run(python.executable, _ASK)
    executable, path, cache_tag, certificates, zones = json.loads(answer)
    return Interpreter(
        executable=Path(executable).resolve(),
        library=tuple(part for name in path if (part := Path(name)).exists()),
        cache_tag=cache_tag,
        certificates=Path(certificates) if certificates else None,
        zones=tuple(folder for name in zones if (folder := Path(name)).is_dir()),
    )


def compile_modules(interpreter: Interpreter, sources: Sequence[Path], folder: Path) -> Mapping[Path, Path]:
    """Files in `folder` by the paths at which the interpreter looks for them; blocks. Raises DriverUnavailable.

    Equal sources give equal files. What is no Python is left out.
    """
    targets = [folder / f"{number}.pyc" for number in range(len(sources))]
    wanted = json.dumps([[str(source), str(target)] for source, target in zip(sources, targets, strict=True)])
    _run(str(interpreter.executable), _COMPILE, wanted)
    return {
        interpreter.compiled_path(source): target
        for source, target in zip(sources, targets, strict=True)
        if target.exists()
    }


def _run(executable: str, program: str, sent: str = "") -> str:
    command = [executable, "-I", "-S", "-c", program]
    try:
        done = subprocess.run(command, env={}, input=sent, capture_output=True, check=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise DriverUnavailable(f"{executable} does not run: {said.strip()[-300:]}") from None
    return done.stdout
