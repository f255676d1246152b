"""What the server answers to hooks that say what git's do, and to those that do not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from clowdy.server.errors import Invalid
from clowdy.server.git import hooks
from clowdy.server.git.hook_messages import PreReceive, ProcReceive, Verdict
from clowdy.server.git.hooks import HookTalk, OnPreReceive, Say
from clowdy.server.git.pipes import PipeReader, PipeWriter
from clowdy.server.git.pkt import FLUSH, pkt

OLD, NEW = "11" * 20, "22" * 20
MAIN, OTHER = "refs/heads/main", "refs/heads/other"


class Desk:
    def __init__(self) -> None:
        self.calls: list[PreReceive | ProcReceive] = []
        self.accept = True
        self.failure: Exception | None = None
        self.lines: list[str] = []

    async def pre_receive(self, push: PreReceive, say: Say) -> bool:
        await self._work(push, say)
        return self.accept

    async def proc_receive(self, push: ProcReceive, say: Say) -> Sequence[Verdict]:
        await self._work(push, say)
        return [Verdict(ref, True) for _, _, ref in push.refs]

    async def _work(self, push: PreReceive | ProcReceive, say: Say) -> None:
        self.calls.append(push)
        for line in self.lines:
            await say(line)
        if self.failure is not None:
            raise self.failure


class Hook:
    """The other ends."""

    def __init__(self, talk: HookTalk) -> None:
        to_server, to_hook, to_pusher = (os.dup(descriptor) for descriptor in talk.descriptors)
        talk.started()
        self.to_server = PipeWriter(to_server)
        self.to_hook = PipeReader(to_hook)
        self.to_pusher = PipeReader(to_pusher)
        self.task = asyncio.create_task(talk.run())

    async def says(self, content: bytes) -> None:
        await self.to_server.write(content)

    async def hears(self) -> bytes:
        return await asyncio.wait_for(self.to_hook.read(), 5)

    async def all_text(self) -> str:
        text = b""
        while piece := await self.to_pusher.read():
            text += piece
        return text.decode()

    def close(self) -> None:
        for end in (self.to_server, self.to_hook, self.to_pusher):
            end.close()


@pytest.fixture
def desk() -> Desk:
    return Desk()


@asynccontextmanager
async def talking(desk: Desk, on_pre_receive: OnPreReceive | None = None, patience: float = 5) -> AsyncIterator[Hook]:
    hook = Hook(HookTalk("p", Path("/x"), on_pre_receive or desk.pre_receive, desk.proc_receive, patience))
    yield hook
    hook.close()
    await asyncio.wait_for(hook.task, 5)


def report_of(*refs: str) -> bytes:
    lines = "".join(f"{OLD} {NEW} {ref}\n" for ref in refs)
    return f"pre-receive\nformat text\nobjects /q\n{lines}\n".encode()


def greeting(*, atomic: bool = False) -> bytes:
    return pkt(b"version=1\0atomic" if atomic else b"version=1") + FLUSH


def question(*refs: str, atomic: bool = False) -> bytes:
    commands = b"".join(pkt(f"{OLD} {NEW} {ref}".encode()) for ref in refs)
    return b"proc-receive\n" + greeting(atomic=atomic) + commands + FLUSH


async def test_a_push_reports_and_then_asks(desk: Desk) -> None:
    desk.lines = ["judging\x1b[2J", "two\nlines"]
    async with talking(desk) as hook:
        await hook.says(report_of(MAIN, OTHER))
        heard = b""
        while not heard.endswith(b"accepted\n"):
            heard += await hook.hears()
        assert heard.decode() == "> judging\ufffd[2J\n> two\n> lines\naccepted\n"
        await hook.says(question(MAIN, OTHER))
        heard = b""
        while piece := await hook.hears():
            heard += piece
        assert heard == greeting() + pkt(b"ok refs/heads/main") + pkt(b"ok refs/heads/other") + FLUSH
        assert await hook.all_text() == "judging\ufffd[2J\ntwo\nlines\n"
    assert [type(call) for call in desk.calls] == [PreReceive, ProcReceive]
    assert desk.calls[0] == PreReceive("p", "/x", ((OLD, NEW, MAIN), (OLD, NEW, OTHER)), "/q")


@pytest.mark.parametrize(
    "said",
    [
        question(MAIN),
        b"proc-receive\n\n",
        b"pre-receive\n\n",
        b"pre-receive\nformat text\nobjects /q\nonly\n\n",
        b"\n\n",
        report_of(MAIN)[:-1],
    ],
)
async def test_who_does_not_report_is_not_answered(desk: Desk, said: bytes) -> None:
    async with talking(desk) as hook:
        await hook.says(said)
        hook.to_server.close()
        assert await hook.hears() == b""
    assert desk.calls == []


async def test_after_a_refusal_there_is_nothing_to_ask(desk: Desk) -> None:
    desk.accept = False
    async with talking(desk) as hook:
        await hook.says(report_of(MAIN))
        assert await hook.hears() == b"refused\n"
        await hook.says(question(MAIN))
        assert await hook.hears() == b""
    assert len(desk.calls) == 1


async def answer_to(hook: Hook, reported: bytes, asked: bytes) -> bytes:
    await hook.says(reported)
    assert await hook.hears() == b"accepted\n"
    await hook.says(asked)
    heard = b""
    while piece := await hook.hears():
        heard += piece
    return heard


async def test_a_ref_that_was_not_reported_refuses_all(desk: Desk) -> None:
    async with talking(desk) as hook:
        answer = await answer_to(hook, report_of(MAIN), question(MAIN, OTHER))
    assert answer.count(b"ng refs/heads/") == 2
    assert len(desk.calls) == 1


async def test_a_ref_name_with_a_line_end_cannot_pose_as_two(desk: Desk) -> None:
    odd = f"refs/heads/x\n{OLD} {NEW} {OTHER}"
    async with talking(desk) as hook:
        answer = await answer_to(hook, report_of(MAIN, odd), question(MAIN, odd))
    assert answer.count(b"ng refs/heads/") == 2
    assert len(desk.calls) == 1


async def test_a_ref_name_with_an_empty_line_ends_the_talk(desk: Desk) -> None:
    async with talking(desk) as hook:
        await hook.says(report_of(MAIN, f"refs/heads/x\n\nproc-receive{OTHER}"))
        assert await hook.hears() == b"accepted\n"
        await hook.says(question(MAIN))
        assert await hook.hears() == b""
    assert len(desk.calls) == 1


async def test_an_atomic_push_of_which_git_refused_a_part(desk: Desk) -> None:
    async with talking(desk) as hook:
        answer = await answer_to(hook, report_of(MAIN, OTHER), question(MAIN, atomic=True))
    refusal = pkt(b"ng refs/heads/main atomic push: another ref was refused")
    assert answer == greeting(atomic=True) + refusal + FLUSH
    assert len(desk.calls) == 1


@pytest.mark.parametrize(
    ("failure", "words"),
    [(Invalid("too many files"), b"too many files"), (KeyError("secret detail"), b"the server's log has the reason")],
)
async def test_a_judge_that_fails_refuses(desk: Desk, failure: Exception, words: bytes) -> None:
    desk.failure = failure
    async with talking(desk) as hook:
        await hook.says(report_of(MAIN))
        heard = b""
        while not heard.endswith(b"refused\n"):
            heard += await hook.hears()
    assert words in heard
    assert b"secret detail" not in heard


@pytest.mark.parametrize(
    ("failure", "words"),
    [(Invalid("too many files"), b"too many files"), (KeyError("secret detail"), b"its log has the reason")],
)
async def test_a_handler_that_fails_refuses(desk: Desk, failure: Exception, words: bytes) -> None:
    async def accept(push: PreReceive, say: Say) -> bool:
        return True

    desk.failure = failure
    async with talking(desk, accept) as hook:
        answer = await answer_to(hook, report_of(MAIN), question(MAIN))
    assert b"ng refs/heads/main " in answer
    assert words in answer
    assert b"secret detail" not in answer


@pytest.mark.parametrize("talk", [b"zzzz", b"0003", b"00", pkt(b"version=2") + FLUSH + FLUSH, pkt(b"x") + FLUSH])
async def test_what_is_not_proc_receive_s_language_ends_the_talk(desk: Desk, talk: bytes) -> None:
    async with talking(desk) as hook:
        await hook.says(report_of(MAIN))
        assert await hook.hears() == b"accepted\n"
        await hook.says(b"proc-receive\n" + talk)
        hook.to_server.close()
        while await hook.hears():
            pass
    assert len(desk.calls) == 1


async def test_a_hook_that_says_too_much_is_cut_off(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "MESSAGE_BYTES", 1000)
    async with talking(desk) as hook:
        await hook.says(b"x" * 5000)
        assert await hook.hears() == b""


async def test_a_pusher_who_reads_nothing_does_not_hold_the_push(desk: Desk) -> None:
    async def flood(push: PreReceive, say: Say) -> bool:
        for _ in range(200):
            await say("x" * 10_000)
        done.set()
        return True

    done = asyncio.Event()
    async with talking(desk, flood, patience=0.2) as hook:
        await hook.says(report_of(MAIN))
        await asyncio.wait_for(done.wait(), 5)


async def test_a_push_goes_on_when_its_hook_is_gone(desk: Desk) -> None:
    begun, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(push: PreReceive, say: Say) -> bool:
        begun.set()
        await go_on.wait()
        for _ in range(100):
            await say("nobody listens")
        done.set()
        return True

    async with talking(desk, work) as hook:
        await hook.says(report_of(MAIN))
        await begun.wait()
        hook.close()
        go_on.set()
        await asyncio.wait_for(done.wait(), 5)


async def test_a_push_without_hooks_leaves_no_descriptor(desk: Desk) -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with talking(desk) as hook:
        hook.close()
    assert len(os.listdir("/proc/self/fd")) == before
