"""What pip was told about indexes, proxies and certificates: its configuration files and its environment.

uv reads none of it, and a machine that reaches packages only through such settings has them for pip.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from clowdy.runtimes.layers.index import Index, read_index

_KEYS = frozenset(
    {"index-url", "extra-index-url", "find-links", "no-index", "cert", "client-cert", "proxy", "trusted-host"}
)
# The later one wins.
_SECTIONS = ("global", "install")
_LARGEST_BYTES = 1024 * 1024


def pip_files(environ: Mapping[str, str], prefix: str = sys.prefix) -> list[Path]:
    """Where pip looks for its configuration, the later one winning."""
    named = environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return []
    home = Path(environ["HOME"]) if environ.get("HOME") else None
    system = [Path(folder) / "pip" / "pip.conf" for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")]
    files = [*reversed(system), Path("/etc/pip.conf")]
    if home is not None:
        files += [home / ".pip" / "pip.conf", Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf"]
    files.append(Path(prefix) / "pip.conf")
    if named:
        files.append(Path(named))
    return files


def read_pip_settings(environ: Mapping[str, str], files: Iterable[Path]) -> dict[str, str]:
    """pip's settings by their long names, environment over files; a file that cannot be read is passed over."""
    found: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            if file.stat().st_size > _LARGEST_BYTES:
                continue
            parser.read_string(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
        for section in _SECTIONS:
            if parser.has_section(section):
                found |= {key: value for key, value in parser.items(section) if key in _KEYS}
    for key in _KEYS:
        value = environ.get(f"PIP_{key.upper().replace('-', '_')}")
        if value:
            found[key] = value
    return found


def find_index(environ: Mapping[str, str]) -> Index:
    """The server's settings: those of uv in `environ`, for what they leave open those of pip; blocks."""
    return read_index(environ, read_pip_settings(environ, pip_files(environ)))
