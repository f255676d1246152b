"""Who resolves names for containers: the resolvers of this machine, as far as they are reached from elsewhere."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path

FILES: Sequence[Path] = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""The second names those that the first one's, a program of this machine, asks."""


def find_resolvers(files: Sequence[Path] | None = None) -> tuple[str, ...]:
    """Of the first file that has any. Without any the engine asks this machine's own by its loopback.

    Containers have version 4 of IP alone.
    """
    for path in files or FILES:
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        if found := tuple(dict.fromkeys(_named(text))):
            return found
    return ()


def _named(text: str) -> list[str]:
    found = []
    for line in text.splitlines():
        key, *values = line.split()[:2] or [""]
        if key == "nameserver" and values:
            try:
                address = ipaddress.IPv4Address(values[0])
            except ValueError:
                continue
            if not address.is_loopback and not address.is_unspecified:
                found.append(str(address))
    return found
