"""The hooks as files: written at every start, since git silently accepts a push whose pre-receive is missing."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

import clowdy.hooks.ask
import clowdy.hooks.pre_receive
import clowdy.hooks.proc_receive
from clowdy.server.errors import StartError

_SHARED = "from clowdy.hooks.ask import ask, variable, write\n"
_SHEBANG_LENGTH = 250


def write_hooks(folder: Path) -> None:
    """Writes both hooks; raises StartError when they cannot be."""
    interpreter = getattr(sys, "_base_executable", None) or sys.executable
    shared = _source(clowdy.hooks.ask)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for entry in folder.iterdir():
            if entry.name not in ("pre-receive", "proc-receive"):
                entry.unlink()
        for name, module in (("pre-receive", clowdy.hooks.pre_receive), ("proc-receive", clowdy.hooks.proc_receive)):
            own = _source(module)
            if own.count(_SHARED) != 1:
                raise StartError(f"the {name} hook is not made as expected: the installation is damaged")
            _install(folder / name, first_lines(interpreter) + shared + own.replace(_SHARED, ""))
    except OSError as error:
        raise StartError(f"the git hooks cannot be written: {error}") from None


def first_lines(interpreter: str) -> str:
    """What makes the kernel run a script with `interpreter`, also where a shebang cannot name it."""
    if len(interpreter) > _SHEBANG_LENGTH or any(character.isspace() for character in interpreter):
        quoted = interpreter.replace("'", "'\"'\"'")
        # Python reads the second line as a text and ignores it.
        return f"#!/bin/sh\n'''exec' '{quoted}' -IS \"$0\" \"$@\"\n' '''\n"
    return f"#!{interpreter} -IS\n"


def _source(module: object) -> str:
    return Path(str(module.__file__)).read_text()  # type: ignore[attr-defined]


def _install(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.write_text(text)
    # The mode of the file, not of the folder, is what git looks at.
    temporary.chmod(0o755)
    temporary.rename(path)
