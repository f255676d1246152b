"""Clients that stall, vanish or come in crowds."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from clowdy.server.errors import Unavailable
from clowdy.server.git import wire as wire_module
from clowdy.server.git.body import Body
from clowdy.server.git.hook_messages import ProcReceive
from clowdy.server.git.hooks import Say
from clowdy.server.git.pkt import FLUSH, pkt
from clowdy.server.git.process import Child, dying_with_us
from clowdy.server.git.refnames import NULL
from clowdy.server.git.repos import Repositories, Repository
from clowdy.server.git.settings import GitSettings
from clowdy.server.git.wire import GitWire

from .packs import Builder, request
from .remote import Client, Remote

pytestmark = pytest.mark.slow

CREDENTIALS = aiohttp.encode_basic_auth("ana", "secret")
MAIN = "refs/heads/main"


@pytest.fixture
def settings(settings: GitSettings) -> GitSettings:
    return replace(settings, stall_seconds=0.3, pushes=1, fetches=1)


async def post(remote: Remote, service: str, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that has sent a request and reads when the test says so."""
    reader, writer = await asyncio.open_connection("127.0.0.1", remote.port, limit=1024)
    head = f"POST /git/shop.git/{service} HTTP/1.1\r\nHost: x\r\nAuthorization: {CREDENTIALS}\r\n"
    head += f"Content-Type: application/x-{service}-request\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    return reader, writer


def a_push(text: bytes = b"x") -> tuple[str, bytes]:
    builder = Builder()
    tip = builder.commit(builder.tree(("100644", b"f", builder.blob(text))))
    return tip, request((NULL, tip, MAIN), data=builder.pack())


async def test_a_client_that_takes_nothing_is_let_go_and_its_push_ends(remote: Remote) -> None:
    async def flood(say: Say, push: ProcReceive) -> None:
        for _ in range(2000):
            await say("x" * 5000)

    remote.speak = flood
    tip, body = a_push()
    reader, writer = await post(remote, "git-receive-pack", body)
    while not remote.closed:
        await asyncio.sleep(0.02)
    assert remote.repository().ref(MAIN) == tip
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        while await reader.read(65536):
            pass
        raise asyncio.IncompleteReadError(b"", 1)
    writer.close()


async def test_a_fetch_ends_with_its_client(remote: Remote, tmp_path: Path) -> None:
    client = await Client.make(tmp_path / "client")
    (client.folder / "noise").write_bytes(os.urandom(20_000_000))
    tip = await client.commit()
    await client.push(remote.url())
    body = pkt(f"want {tip} side-band-64k ofs-delta\n".encode()) + FLUSH + pkt(b"done\n")
    _, writer = await post(remote, "git-upload-pack", body)
    # The only place for a fetch is free again soon after: git was ended.
    async with asyncio.timeout(10):
        await asyncio.sleep(0.1)
        assert await remote.wire.advertise(wire_module.Service.FETCH, remote.repository().path)
    writer.close()


async def test_a_body_that_does_not_come_is_not_waited_for(settings: GitSettings) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        yield b"00"
        await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        await Body(nothing(), 0.05).head()


async def test_a_crowd_is_told_to_come_back(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_module, "WAIT_SECONDS", 0.1)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work(say: Say, push: ProcReceive) -> None:
        begun.set()
        await go_on.wait()

    remote.speak = work
    tip, body = a_push()
    _, writer = await post(remote, "git-receive-pack", body)
    await begun.wait()
    async with aiohttp.ClientSession(headers={"Authorization": CREDENTIALS}) as session:
        answer = await session.post(
            f"http://127.0.0.1:{remote.port}/git/shop.git/git-receive-pack",
            data=a_push(b"other")[1],
            headers={"Content-Type": "application/x-git-receive-pack-request"},
        )
        assert answer.status == 503
        assert answer.headers["Retry-After"]
    go_on.set()
    await remote.wire.close()
    writer.close()
    assert remote.repository().ref(MAIN) == tip
    assert sorted(remote.opened) == sorted(remote.closed)


async def test_a_cancelled_request_does_not_cancel_its_push(
    repositories: Repositories, repository: Repository, settings: GitSettings, remote: Remote
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work(say: Say, push: ProcReceive) -> None:
        begun.set()
        await go_on.wait()

    class Nobody:
        async def write(self, piece: bytes) -> None:
            raise ConnectionResetError

        def drop(self) -> None:
            pass

    async def body() -> AsyncIterator[bytes]:
        yield whole

    remote.speak = work
    remote.tickets["p"] = repository
    tip, whole = a_push()
    task = asyncio.create_task(remote.wire.push(repository.path, "p", Body(body(), 5), Nobody()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await remote.wire.close()
    assert repository.ref(MAIN) == tip


async def test_a_push_that_is_cancelled_before_its_body_is_in_leaves_nothing(
    repository: Repository, remote: Remote
) -> None:
    waiting = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield a_push()[1][:-30]
        waiting.set()
        await asyncio.sleep(60)

    class Nobody:
        async def write(self, piece: bytes) -> None: ...

        def drop(self) -> None: ...

    task = asyncio.create_task(remote.wire.push(repository.path, "p", Body(body(), 90), Nobody()))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(remote.wire.close(), 5)
    assert remote.judged == []
    assert not list(repository.path.glob("objects/tmp_objdir*"))


async def test_too_many_at_once_is_unavailable(
    settings: GitSettings, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_module, "WAIT_SECONDS", 0.05)
    crowded = GitWire(replace(settings, fetches=0), remote.pre_receive, remote.proc_receive, remote.folder)
    with pytest.raises(Unavailable):
        await crowded.advertise(wire_module.Service.FETCH, remote.folder / "empty.git")


async def test_a_child_has_no_environment_of_ours_and_its_limits(settings: GitSettings) -> None:
    script = "import os, resource; print(sorted(os.environ), resource.getrlimit(resource.RLIMIT_DATA)[0])"
    limits = wire_module.ProcessLimits(memory_bytes=512 * 1024 * 1024)
    child = Child.start([sys.executable, "-IS", "-c", f"input(); {script}"], {"A": "b"}, limits=limits)
    async with child:
        await child.write(b"\n")
        child.close_input()
        said = b""
        while piece := await child.read():
            said += piece
        assert await child.wait() == 0
    assert said.decode().strip() == f"['A', 'LC_CTYPE'] {512 * 1024 * 1024}"


async def test_a_child_ends_with_the_server(settings: GitSettings) -> None:
    program = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen({dying_with_us(settings.setpriv, ['sleep', '60'])!r})\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    server = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert server.stdout is not None
    pid = int(server.stdout.readline())
    await asyncio.sleep(0.1)
    watched = os.pidfd_open(pid)
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    server.stdout.close()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(watched, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), 5)
    finally:
        asyncio.get_running_loop().remove_reader(watched)
        os.close(watched)


async def test_a_client_that_stops_in_the_middle_of_its_pack_is_told(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clowdy.server.web.git.BODY_STALLS_SECONDS", 0.2)
    _, body = a_push()
    reader, writer = await asyncio.open_connection("127.0.0.1", remote.port)
    head = f"POST /git/shop.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nAuthorization: {CREDENTIALS}\r\n"
    head += f"Content-Type: application/x-git-receive-pack-request\r\nContent-Length: {len(body) + 100}\r\n\r\n"
    writer.write(head.encode() + body[:-20])
    async with asyncio.timeout(10):
        answer = await reader.readuntil(b"to its end")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the request was not sent to its end" in answer
    writer.close()
