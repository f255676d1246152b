"""The talk between the server and the two hooks of one push, over pipes that only that push's git inherits.

The hooks are shell scripts of a few lines, since an interpreter for each would cost more than all else in a push.
What they say is checked: a push that pre-receive did not report, or reported otherwise, is refused, as is every push
whose handler fails. With the server gone the pipes end, and git refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from clowdy.schema.text import printable
from clowdy.server.errors import ClowdyError
from clowdy.server.git.hook_messages import (
    PROC_RECEIVE,
    PreReceive,
    ProcReceive,
    Verdict,
    parse_pre_receive,
    parse_proc_receive,
    report,
)
from clowdy.server.git.pipes import PipeReader, PipeWriter
from clowdy.server.git.pkt import FLUSH

log = logging.getLogger(__name__)

Say = Callable[[str], Awaitable[None]]
OnPreReceive = Callable[[PreReceive, Say], Awaitable[bool]]
OnProcReceive = Callable[[ProcReceive, Say], Awaitable[Sequence[Verdict]]]

MESSAGE_BYTES = 8 * 1024 * 1024
PATIENCE_SECONDS = 30.0


class HookTalk:
    """The server's side of one push's hooks."""

    def __init__(
        self,
        push_id: str,
        repository: Path,
        on_pre_receive: OnPreReceive,
        on_proc_receive: OnProcReceive,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """`patience_seconds` is how long all waiting for this push's client may take: it holds its project's turn."""
        self._push_id = push_id
        self._repository = repository
        self._on_pre_receive = on_pre_receive
        self._on_proc_receive = on_proc_receive
        self._patience_left = patience_seconds
        from_hook, to_server = os.pipe()
        to_hook, answer = os.pipe()
        to_pusher, text = os.pipe()
        self._theirs = {"CLOWDY_TO_SERVER": to_server, "CLOWDY_TO_HOOK": to_hook, "CLOWDY_TO_PUSHER": to_pusher}
        self._heard = PipeReader(from_hook)
        self._answer = PipeWriter(answer)
        self._text = PipeWriter(text)
        self._received = bytearray()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What git inherits."""
        return tuple(self._theirs.values())

    @property
    def environment(self) -> dict[str, str]:
        """How the hooks find it: a shell can name only the first ten descriptors by number."""
        return {name: f"/proc/self/fd/{descriptor}" for name, descriptor in self._theirs.items()}

    def started(self) -> None:
        """Git has its ends: the server's copies of them go, so that a pipe ends when git has."""
        for descriptor in self._theirs.values():
            os.close(descriptor)
        self._theirs = {}

    async def run(self) -> None:
        """Answers both hooks. What a handler has begun goes on to its end, also when git has ended."""
        try:
            refs = await self._pre_receive()
            if refs is not None:
                await self._proc_receive(refs)
        except (EOFError, ValueError) as error:
            log.info("push %s ended early: %s", self._push_id, error)
        finally:
            self.close()

    def close(self) -> None:
        """Ends the talk."""
        self.started()
        for end in (self._text, self._answer, self._heard):
            end.close()

    async def _pre_receive(self) -> frozenset[tuple[str, str, str]] | None:
        message = await self._until(b"\n\n")
        push = parse_pre_receive(self._push_id, str(self._repository), message)

        async def say(line: str) -> None:
            await self._say(self._answer, "> ", line)

        try:
            accepted = await self._on_pre_receive(push, say)
        except ClowdyError as error:
            await say(error.message)
            accepted = False
        except Exception:
            log.exception("push %s could not be judged", self._push_id)
            await say("the push could not be judged: the server's log has the reason")
            accepted = False
        await self._give(b"accepted\n" if accepted else b"refused\n")
        return frozenset(push.refs) if accepted else None

    async def _proc_receive(self, reported: frozenset[tuple[str, str, str]]) -> None:
        if await self._until(b"\n") != PROC_RECEIVE:
            raise ValueError("a hook came out of turn")
        greeting = await self._section()
        # Everything that this git offers is taken, in its own words.
        await self._give(greeting)
        talk = greeting + await self._section()
        if b"push-options" in greeting:
            talk += await self._section()
        push = parse_proc_receive(self._push_id, str(self._repository), talk)
        answer = report(push, await self._verdicts(push, reported))
        # The pusher's text is whole before git hears the end.
        self._text.close()
        await self._give(answer)

    async def _verdicts(self, push: ProcReceive, reported: frozenset[tuple[str, str, str]]) -> Sequence[Verdict]:
        refs = frozenset(push.refs)
        if not refs <= reported:
            return _refuse(push, "pre-receive did not report it")
        if push.atomic and refs != reported:
            # Git itself has refused the rest by now, and would still report these as it is told.
            return _refuse(push, "atomic push: another ref was refused")

        async def say(line: str) -> None:
            await self._say(self._text, "", line)

        try:
            return await self._on_proc_receive(push, say)
        except ClowdyError as error:
            return _refuse(push, error.message)
        except Exception:
            log.exception("push %s failed", self._push_id)
            return _refuse(push, "the server failed: its log has the reason")

    async def _say(self, pipe: PipeWriter, prefix: str, text: str) -> None:
        if self._patience_left <= 0:
            return
        lines = "".join(f"{prefix}{printable(line)}\n" for line in text.split("\n"))
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._patience_left):
                await pipe.write(lines.encode())
        except TimeoutError:
            self._patience_left = 0.0
        else:
            self._patience_left -= loop.time() - began

    async def _give(self, content: bytes) -> None:
        # A client that does not read cannot hold this back: git, or the shell, takes it by itself.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._answer.write(content)

    async def _until(self, end: bytes) -> bytes:
        while (at := self._received.find(end)) < 0:
            await self._more()
        return self._take(at + len(end))

    async def _section(self) -> bytes:
        """The pkt-lines up to the next flush, with it."""
        lines = b""
        while True:
            digits = await self._exactly(4)
            lines += digits
            if digits == FLUSH:
                return lines
            length = int(digits, 16)
            if length < 4:
                raise ValueError(f"bad pkt-line length {digits!r}")
            lines += await self._exactly(length - 4)

    async def _exactly(self, length: int) -> bytes:
        while len(self._received) < length:
            await self._more()
        return self._take(length)

    async def _more(self) -> None:
        if len(self._received) > MESSAGE_BYTES:
            raise ValueError("a hook says too much")
        piece = await self._heard.read()
        if not piece:
            raise EOFError("git has ended")
        self._received += piece

    def _take(self, length: int) -> bytes:
        taken = bytes(self._received[:length])
        del self._received[:length]
        return taken


@contextlib.asynccontextmanager
async def answering(talk: HookTalk) -> AsyncIterator[None]:
    """Answers the hooks meanwhile, and to the end."""
    task = asyncio.create_task(talk.run())
    try:
        yield
    finally:
        # Git's own copies of the pipes are gone or about to go; a handler that works on is waited for.
        await asyncio.wait([task])


def _refuse(push: ProcReceive, reason: str) -> list[Verdict]:
    return [Verdict(ref, False, reason) for _, _, ref in push.refs]
