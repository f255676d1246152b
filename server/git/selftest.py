"""A scratch push through the server's own wire code: if it does not call both hooks, the server must not serve."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from hashlib import sha1
from pathlib import Path
from zlib import compress

from clowdy.server.errors import StartError
from clowdy.server.git.body import Body
from clowdy.server.git.hook_messages import PreReceive, ProcReceive, Verdict
from clowdy.server.git.hooks import Say
from clowdy.server.git.pkt import FLUSH, pkt
from clowdy.server.git.refnames import NULL
from clowdy.server.git.repos import make_bare
from clowdy.server.git.values import commit_bytes
from clowdy.server.git.wire import GitWire

REF = "refs/heads/self-test"
REASON = "self-test"


async def self_test(wire: GitWire, folder: Path, seconds: float = 20.0) -> None:
    """Raises StartError, with what git said, when a push does not reach both hooks and end with their words."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".self-test-", dir=folder))
    try:
        make_bare(scratch / "scratch.git")
        async with asyncio.timeout(seconds):
            await _push(wire, scratch / "scratch.git")
    except TimeoutError:
        raise StartError(f"git's hooks do not work here (no answer in {seconds:.0f} s)") from None
    except (OSError, ValueError) as error:
        raise StartError(f"a push to this server does not work: {error}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


async def _push(wire: GitWire, repository: Path) -> None:
    called: list[str] = []

    async def pre_receive(push: PreReceive, say: Say) -> bool:
        called.append("pre-receive")
        return True

    async def proc_receive(push: ProcReceive, say: Say) -> list[Verdict]:
        called.append("proc-receive")
        return [Verdict(ref, False, REASON) for _, _, ref in push.refs]

    push_id = secrets.token_hex(6)
    client = _Collector()
    await wire.push(repository, push_id, Body(_request(), 30), client, handlers=(pre_receive, proc_receive))
    answer = bytes(client.answer)
    if called != ["pre-receive", "proc-receive"] or f"ng {REF} {REASON}".encode() not in answer:
        missing = {"pre-receive", "proc-receive"} - set(called)
        what = f"{' and '.join(sorted(missing))} not called" if missing else "their verdict not heard"
        said = answer.decode(errors="replace").strip() or "nothing"
        raise StartError(f"git's hooks do not work here ({what}); git said: {said[:500]!a}")


class _Collector:
    def __init__(self) -> None:
        self.answer = bytearray()

    async def write(self, piece: bytes) -> None:
        self.answer += piece

    def drop(self) -> None:
        pass


async def _request() -> AsyncIterator[bytes]:
    tree = sha1(b"tree 0\0", usedforsecurity=False).hexdigest()
    content = commit_bytes(tree, [], "Self-test\n", "clowdy", 0)
    commit = sha1(b"commit %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    pack = b"PACK" + (2).to_bytes(4, "big") + (2).to_bytes(4, "big")
    pack += _entry(2, b"") + _entry(1, content)
    pack += sha1(pack, usedforsecurity=False).digest()
    yield pkt(f"{NULL} {commit} {REF}\0report-status".encode()) + FLUSH + pack


def _entry(kind: int, content: bytes) -> bytes:
    size = len(content)
    first = kind << 4 | size & 15
    header = bytearray()
    size >>= 4
    while size:
        header.append(first | 128)
        first, size = size & 127, size >> 7
    header.append(first)
    return bytes(header) + compress(content)
