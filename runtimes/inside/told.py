"""What an application is told of a request: its parts as a reverse proxy in front would give them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_PORTS = {"http": 80, "https": 443}


def fields(said: dict[str, Any]) -> list[tuple[str, str]]:
    """The headers in lower case, each as often as it was sent; the text of a value has its bytes as Latin-1."""
    pairs: Iterable[Any] = said.get("fields") or said["headers"].items()
    host = said.get("host")
    if host is None:
        return [(name, value) for name, value in pairs]
    return [("host", host), *((name, value) for name, value in pairs if name != "host")]


def paths(said: dict[str, Any]) -> tuple[str, str]:
    """The path below the prefix, decoded and as it was sent, both with the slash at its end if it had one."""
    path: str = said["path"]
    raw: str = said.get("raw_path", path)
    if len(raw) > 1 and raw.endswith("/"):
        path += "/"
    return path, raw


def server(headers: Iterable[tuple[str, str]], scheme: str) -> tuple[str, int]:
    """Name and port that the caller asked for."""
    host = next((value for name, value in headers if name == "host"), "")
    name, colon, port = host.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()):
        # An IPv6 address without a port ends in a bracket.
        return host or "localhost", _PORTS[scheme]
    return name, int(port)
