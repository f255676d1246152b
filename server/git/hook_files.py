"""The hooks as files: written at every start, since git silently accepts a push whose pre-receive is missing."""

from __future__ import annotations

import secrets
from importlib import resources
from pathlib import Path

from clowdy.server.errors import StartError

NAMES = ("pre-receive", "proc-receive")


def write_hooks(folder: Path) -> None:
    """Writes both hooks and nothing else; raises StartError when they cannot be."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for entry in folder.iterdir():
            if entry.name not in NAMES:
                entry.unlink()
        for name in NAMES:
            _install(folder / name, resources.files("clowdy.hooks").joinpath(f"{name}.sh").read_text())
    except OSError as error:
        raise StartError(f"the git hooks cannot be written: {error}") from None


def _install(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.write_text(text)
    # Git skips a pre-receive that cannot be executed, without a word over HTTP.
    temporary.chmod(0o755)
    temporary.rename(path)
