"""The refs that a client is told of before it pushes or fetches. Pure.

A push sees `live` with the null id: its client then believes that it creates the branch and sends any commit or tag,
forwards or backwards, without force. The server's own refs are left out.
"""

from __future__ import annotations

from collections.abc import Iterable

from clowdy.server.errors import GitError
from clowdy.server.git.pkt import FLUSH, pkt, split

LIVE = b"refs/heads/live"
HIDDEN = b"refs/clowdy/"
_NULL = b"0" * 40


def preamble(service: str) -> bytes:
    """What smart HTTP wants before the refs."""
    return pkt(b"# service=" + service.encode() + b"\n") + FLUSH


def for_pushes(advertised: bytes) -> bytes:
    """Git's own advertisement of receive-pack, as pushes shall see it; raises GitError for anything else."""
    try:
        lines = [line for line in split(advertised) if line is not None]
    except ValueError as error:
        raise GitError(f"git's advertisement is broken: {error}") from None
    answer = bytearray()
    if lines and lines[0].startswith(b"version "):
        answer += pkt(lines.pop(0))
    if not lines or b"\0" not in lines[0]:
        raise GitError("git's advertisement has no capabilities")
    first, _, capabilities = lines[0].partition(b"\0")
    shown = list(_shown([first, *lines[1:]])) or [_NULL + b" capabilities^{}"]
    answer += pkt(shown[0] + b"\0" + capabilities)
    for line in shown[1:]:
        answer += pkt(line + b"\n")
    return bytes(answer + FLUSH)


def _shown(lines: Iterable[bytes]) -> Iterable[bytes]:
    for line in lines:
        oid, _, name = line.removesuffix(b"\n").partition(b" ")
        if name.startswith(HIDDEN):
            continue
        yield (_NULL if name == LIVE else oid) + b" " + name
