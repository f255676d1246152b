"""Who may ask on the hooks' socket, and what happens to those who may not."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from clowdy.server.errors import Invalid, StartError
from clowdy.server.git import hook_socket
from clowdy.server.git.hook_messages import NULL, PreReceive, ProcReceive, Verdict
from clowdy.server.git.hook_socket import HookSocket, Say, socket_path
from clowdy.server.git.pkt import FLUSH, pkt

OLD, NEW = "11" * 20, "22" * 20
MAIN, OTHER = "refs/heads/main", "refs/heads/other"


class Desk:
    def __init__(self) -> None:
        self.calls: list[object] = []
        self.accept = True
        self.failure: Exception | None = None
        self.lines: list[str] = []

    async def pre_receive(self, push: PreReceive, say: Say) -> bool:
        self.calls.append(push)
        for line in self.lines:
            await say(line)
        if self.failure is not None:
            raise self.failure
        return self.accept

    async def proc_receive(self, push: ProcReceive, say: Say) -> Sequence[Verdict]:
        self.calls.append(push)
        for line in self.lines:
            await say(line)
        if self.failure is not None:
            raise self.failure
        return [Verdict(ref, True) for _, _, ref in push.refs]


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def hooks(tmp_path: Path, desk: Desk) -> AsyncIterator[HookSocket]:
    opened = HookSocket(tmp_path / "s", desk.pre_receive, desk.proc_receive, patience_seconds=0.3)
    await opened.open()
    yield opened
    await opened.close()


def message(kind: bytes, *fields: bytes) -> bytes:
    body = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    return kind + len(body).to_bytes(4, "big") + body


def report_of(*refs: str, push_id: str = "p") -> bytes:
    lines = b"".join(f"{OLD} {NEW} {ref}\n".encode() for ref in refs)
    return message(b"r", push_id.encode(), b"/", b"", b"", lines)


def question(*refs: str, push_id: str = "p", atomic: bool = False) -> bytes:
    talk = pkt(b"version=1\0atomic" if atomic else b"version=1") + FLUSH
    talk += b"".join(pkt(f"{OLD} {NEW} {ref}".encode()) for ref in refs) + FLUSH
    return message(b"c", push_id.encode(), b"/", talk)


async def ask(hooks: HookSocket, sent: bytes) -> tuple[str, bytes | None]:
    """What the pusher reads and what git gets, None when the connection was cut without an answer."""
    reader, writer = await asyncio.open_unix_connection(str(hooks.path))
    try:
        writer.write(sent)
        text = b""
        while letter := await reader.read(1):
            content = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
            if letter == b"=":
                return text.decode(), content
            text += content
        return text.decode(), None
    finally:
        writer.close()


async def test_only_this_user_can_connect(hooks: HookSocket) -> None:
    assert stat.S_IMODE(hooks.path.stat().st_mode) == 0o600


async def test_a_push_reports_and_then_asks(hooks: HookSocket, desk: Desk) -> None:
    desk.lines = ["judging\x1b[2J", "two\nlines"]
    with hooks.admit("p"):
        assert await ask(hooks, report_of(MAIN, OTHER)) == ("judging\ufffd[2J\ntwo\nlines\n", b"0")
        _, answer = await ask(hooks, question(MAIN, OTHER))
    assert answer == pkt(b"ok refs/heads/main") + pkt(b"ok refs/heads/other") + FLUSH
    assert [type(call) for call in desk.calls] == [PreReceive, ProcReceive]


async def test_unknown_pushes_are_cut_off(hooks: HookSocket, desk: Desk) -> None:
    assert (await ask(hooks, report_of(MAIN)))[1] is None
    with hooks.admit("other"):
        assert (await ask(hooks, report_of(MAIN)))[1] is None
        assert (await ask(hooks, question(MAIN)))[1] is None
    with hooks.admit("p"):
        pass
    assert (await ask(hooks, report_of(MAIN)))[1] is None
    assert desk.calls == []


async def test_asking_without_a_report_twice_or_after_a_refusal(hooks: HookSocket, desk: Desk) -> None:
    with hooks.admit("p"):
        assert (await ask(hooks, question(MAIN)))[1] is None
        desk.accept = False
        assert (await ask(hooks, report_of(MAIN)))[1] == b"1"
        assert (await ask(hooks, question(MAIN)))[1] is None
        assert (await ask(hooks, report_of(MAIN)))[1] is None
    desk.accept = True
    with hooks.admit("p"):
        assert (await ask(hooks, report_of(MAIN)))[1] == b"0"
        assert (await ask(hooks, question(MAIN)))[1] == pkt(b"ok refs/heads/main") + FLUSH
        assert (await ask(hooks, question(MAIN)))[1] is None


async def test_a_ref_that_was_not_reported_refuses_all(hooks: HookSocket, desk: Desk) -> None:
    with hooks.admit("p"):
        await ask(hooks, report_of(MAIN))
        _, answer = await ask(hooks, question(MAIN, OTHER))
    assert answer is not None
    assert answer.count(b"ng refs/heads/") == 2
    assert len(desk.calls) == 1


async def test_an_atomic_push_of_which_git_refused_a_part(hooks: HookSocket, desk: Desk) -> None:
    with hooks.admit("p"):
        await ask(hooks, report_of(MAIN, OTHER))
        _, answer = await ask(hooks, question(MAIN, atomic=True))
    assert answer == pkt(b"ng refs/heads/main atomic push: another ref was refused") + FLUSH
    assert len(desk.calls) == 1


@pytest.mark.parametrize(
    ("failure", "words"),
    [(Invalid("too many files"), "too many files"), (KeyError("secret detail"), "the server's log has the reason")],
)
async def test_a_handler_that_fails_refuses(
    hooks: HookSocket, desk: Desk, failure: Exception, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with hooks.admit("p"):
        desk.failure = failure
        text, answer = await ask(hooks, report_of(MAIN))
        assert (answer, words in text, "secret detail" in text) == (b"1", True, False)
    with hooks.admit("p"):
        desk.failure = None
        await ask(hooks, report_of(MAIN))
        desk.failure = failure
        _, answer = await ask(hooks, question(MAIN))
        assert answer is not None
        assert answer.startswith(pkt(b"ng refs/heads/main")[4:8], 4)
        assert b"secret detail" not in answer


@pytest.mark.parametrize(
    "sent",
    [
        b"r\xff\xff\xff\xff",
        b"x\0\0\0\0",
        message(b"r", b"p"),
        message(b"r", b"p", b"/", b"", b"", b"cut line"),
        message(b"c", b"p", b"/", b"zzzz"),
        message(b"r") + b"more",
    ],
)
async def test_malformed_messages_are_cut_off(hooks: HookSocket, desk: Desk, sent: bytes) -> None:
    with hooks.admit("p"):
        assert (await ask(hooks, sent))[1] is None
    assert desk.calls == []


async def test_half_a_message_is_not_waited_for_for_ever(hooks: HookSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook_socket, "MESSAGE_SECONDS", 0.05)
    with hooks.admit("p"):
        assert (await ask(hooks, report_of(MAIN)[:-3]))[1] is None


async def test_a_hook_that_reads_nothing_does_not_hold_the_push(hooks: HookSocket, desk: Desk) -> None:
    done = asyncio.Event()

    async def flood(push: PreReceive, say: Say) -> bool:
        for _ in range(200):
            await say("x" * 10_000)
        done.set()
        return True

    with hooks.admit("p", (flood, desk.proc_receive)):
        _, writer = await asyncio.open_unix_connection(str(hooks.path), limit=1024)
        writer.write(report_of(MAIN))
        await asyncio.wait_for(done.wait(), 5)
        writer.close()


async def test_a_push_goes_on_when_its_hook_is_gone(hooks: HookSocket, desk: Desk) -> None:
    begun, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(push: PreReceive, say: Say) -> bool:
        begun.set()
        await go_on.wait()
        for _ in range(100):
            await say("nobody listens")
        done.set()
        return True

    with hooks.admit("p", (work, desk.proc_receive)):
        _, writer = await asyncio.open_unix_connection(str(hooks.path))
        writer.write(report_of(MAIN))
        await begun.wait()
        writer.close()
    go_on.set()
    await asyncio.wait_for(done.wait(), 5)


async def test_one_push_is_admitted_once(hooks: HookSocket) -> None:
    with hooks.admit("p"), pytest.raises(ValueError, match="already"), hooks.admit("p"):
        pass


def test_the_socket_has_a_short_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    other = tmp_path / "other"
    other.mkdir()
    runtime = tmp_path / "run"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert socket_path(deep).parent == runtime
    assert socket_path(deep) == socket_path(deep)
    assert socket_path(deep) != socket_path(other)
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert socket_path(other).parent == other
    with pytest.raises(StartError, match="XDG_RUNTIME_DIR"):
        socket_path(deep)
    assert NULL not in str(socket_path(other))
