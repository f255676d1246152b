"""The unix socket on which git's hooks ask the server what becomes of a push.

Each push is admitted before its git process starts; a hook that names no admitted push, asks twice, asks in the
wrong order or about other refs than it reported is refused, and so is every push whose handler fails.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clowdy.schema.text import printable
from clowdy.server.errors import ClowdyError, StartError
from clowdy.server.git.hook_messages import (
    Line,
    PreReceive,
    ProcReceive,
    Verdict,
    parse_fields,
    parse_pre_receive,
    parse_proc_receive,
    report,
)

log = logging.getLogger(__name__)

Say = Callable[[str], Awaitable[None]]
OnPreReceive = Callable[[PreReceive, Say], Awaitable[bool]]
OnProcReceive = Callable[[ProcReceive, Say], Awaitable[Sequence[Verdict]]]

MESSAGE_BYTES = 8 * 1024 * 1024
MESSAGE_SECONDS = 30.0
# What a client may leave unread before `say` waits for it.
UNREAD_BYTES = 256 * 1024
PATIENCE_SECONDS = 30.0

REFUSED = b"1"
ACCEPTED = b"0"


def socket_path(data_dir: Path) -> Path:
    """Where the socket of a data directory stands: a short name, since such a path has at most 107 bytes."""
    name = f"clowdy-{hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:12]}.sock"
    candidates = [Path("/run")] if os.geteuid() == 0 else []
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        candidates.append(Path(runtime))
    candidates.append(data_dir)
    for folder in candidates:
        if folder.is_absolute() and os.access(folder, os.W_OK | os.X_OK) and len(os.fsencode(folder / name)) < 100:
            return folder / name
    raise StartError("there is no folder for the hooks' socket: set XDG_RUNTIME_DIR to one that this user can write")


@dataclass(slots=True)
class _Admitted:
    """One push that may call, and how far it is."""

    pre_receive: OnPreReceive
    proc_receive: OnProcReceive
    patience_left: float
    reported: frozenset[Line] | None = None
    reporting: bool = False
    asked: bool = False


class HookSocket:
    """Listens for hooks and hands their questions to the two handlers."""

    def __init__(
        self,
        path: Path,
        on_pre_receive: OnPreReceive,
        on_proc_receive: OnProcReceive,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """`patience_seconds` is how long all waiting for one push's client may take."""
        self.path = path
        self._patience_seconds = patience_seconds
        self._on_pre_receive = on_pre_receive
        self._on_proc_receive = on_proc_receive
        self._admitted: dict[str, _Admitted] = {}
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listens; only this user can connect."""
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self.path))
            # Before it listens nobody can connect, whatever the umask was.
            self.path.chmod(0o600)
            self._server = await asyncio.start_unix_server(self._connected, sock=listener)
        except OSError as error:
            listener.close()
            raise StartError(f"the hooks' socket cannot be opened: {error}") from None

    async def close(self) -> None:
        """Stops listening and waits for the handlers that run."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self.path.unlink(missing_ok=True)
        while self._talks:
            await asyncio.wait(list(self._talks))

    @contextmanager
    def admit(self, push_id: str, handlers: tuple[OnPreReceive, OnProcReceive] | None = None) -> Iterator[None]:
        """Lets the hooks of one push call, each once, for as long as this lasts."""
        if push_id in self._admitted:
            raise ValueError(f"push {push_id} is admitted already")
        self._admitted[push_id] = _Admitted(
            *(handlers or (self._on_pre_receive, self._on_proc_receive)), self._patience_seconds
        )
        try:
            yield
        finally:
            del self._admitted[push_id]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        writer.transport.set_write_buffer_limits(high=UNREAD_BYTES)
        try:
            await self._talk(reader, writer)
        except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError) as error:
            log.warning("a hook was refused: %s", error)
        finally:
            self._talks.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(MESSAGE_SECONDS):
            kind = await reader.readexactly(1)
            length = int.from_bytes(await reader.readexactly(4), "big")
            if length > MESSAGE_BYTES:
                raise ValueError(f"a hook's message of {length} bytes")
            fields = parse_fields(await reader.readexactly(length))
        if kind == b"r":
            answer = await self._pre_receive(parse_pre_receive(fields), writer)
        elif kind == b"c":
            answer = await self._proc_receive(parse_proc_receive(fields), writer)
        else:
            raise ValueError(f"a hook of kind {kind!r}")
        # Written also when the hook is gone: what was decided stands, there is only nobody to tell.
        writer.write(_part(b"=", answer))
        async with asyncio.timeout(self._patience_seconds):
            await writer.drain()

    async def _pre_receive(self, push: PreReceive, writer: asyncio.StreamWriter) -> bytes:
        admitted = self._admitted.get(push.push_id)
        if admitted is None or admitted.reporting:
            raise ValueError("pre-receive of a push that was not admitted")
        admitted.reporting = True
        say = _say(admitted, writer)
        try:
            accepted = await admitted.pre_receive(push, say)
        except ClowdyError as error:
            await say(error.message)
            return REFUSED
        except Exception:
            log.exception("push %s could not be judged", push.push_id)
            await say("the push could not be judged: the server's log has the reason")
            return REFUSED
        if accepted:
            admitted.reported = frozenset(push.refs)
        return ACCEPTED if accepted else REFUSED

    async def _proc_receive(self, push: ProcReceive, writer: asyncio.StreamWriter) -> bytes:
        admitted = self._admitted.get(push.push_id)
        if admitted is None or admitted.asked:
            raise ValueError("proc-receive of a push that was not admitted")
        if admitted.reported is None:
            raise ValueError("proc-receive of a push that pre-receive did not let pass")
        admitted.asked = True
        refs = frozenset(push.refs)
        if not refs <= admitted.reported:
            return report(push, [Verdict(ref, False, "pre-receive did not report it") for _, _, ref in push.refs])
        if push.atomic and refs != admitted.reported:
            # git itself has refused the rest by now, and would still report these as it is told.
            return report(
                push, [Verdict(ref, False, "atomic push: another ref was refused") for _, _, ref in push.refs]
            )
        say = _say(admitted, writer)
        try:
            verdicts = await admitted.proc_receive(push, say)
        except ClowdyError as error:
            verdicts = [Verdict(ref, False, error.message) for _, _, ref in push.refs]
        except Exception:
            log.exception("push %s failed", push.push_id)
            reason = "the server failed: its log has the reason"
            verdicts = [Verdict(ref, False, reason) for _, _, ref in push.refs]
        return report(push, verdicts)


def _say(admitted: _Admitted, writer: asyncio.StreamWriter) -> Say:
    async def say(line: str) -> None:
        if admitted.patience_left <= 0 or writer.is_closing():
            return
        writer.write(_part(b">", "".join(f"{printable(part)}\n" for part in line.split("\n")).encode()))
        if writer.transport.get_write_buffer_size() < UNREAD_BYTES:
            return
        # The push owns its project's turn meanwhile, so all waiting for one client together has an end.
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(admitted.patience_left):
                await writer.drain()
        except (OSError, TimeoutError):
            admitted.patience_left = 0
        else:
            admitted.patience_left -= loop.time() - began

    return say


def _part(letter: bytes, content: bytes) -> bytes:
    return letter + len(content).to_bytes(4, "big") + content
