"""The refs that a client is told of before it pushes. Pure.

A push sees `live` with the null id: its client then believes that it creates the branch and sends any commit or tag,
forwards or backwards, without force. The server's own refs are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

from clowdy.server.errors import GitError
from clowdy.server.git.pkt import FLUSH, pkt, split
from clowdy.server.git.refnames import NULL

LIVE = "refs/heads/live"
HIDDEN = "refs/clowdy/"


def preamble(service: str) -> bytes:
    """What smart HTTP wants before the refs."""
    return pkt(b"# service=" + service.encode() + b"\n") + FLUSH


def capabilities_of(advertised: bytes) -> bytes:
    """What git says that it can, from its own advertisement of receive-pack; raises GitError for anything else."""
    try:
        first = next(split(advertised), None)
    except ValueError as error:
        raise GitError(f"git's advertisement is broken: {error}") from None
    _, found, capabilities = (first or b"").partition(b"\0")
    if not found:
        raise GitError("git's advertisement has no capabilities")
    return capabilities


def for_pushes(refs: Mapping[str, str], capabilities: bytes) -> bytes:
    """The advertisement of receive-pack: `refs` by name, and what git says that it can."""
    shown = [
        f"{NULL if name == LIVE else oid} {name}".encode("utf-8", "surrogateescape")
        for name, oid in sorted(refs.items())
        if not name.startswith(HIDDEN)
    ] or [f"{NULL} capabilities^{{}}".encode()]
    first, *rest = shown
    return pkt(first + b"\0" + capabilities) + b"".join(pkt(line + b"\n") for line in rest) + FLUSH
