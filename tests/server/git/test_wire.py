"""Stock git clients over loopback against the server's own wire, hooks and endpoint."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import signal
from pathlib import Path

import aiohttp
import pytest
import yarl

from clowdy.server.git.hook_messages import ProcReceive
from clowdy.server.git.hooks import Say
from clowdy.server.git.pkt import FLUSH, pkt
from clowdy.server.git.refnames import NULL
from clowdy.server.git.wire import Service
from clowdy.server.people.tokens import Scope

from .remote import Client, Remote

pytestmark = pytest.mark.slow

CREDENTIALS = aiohttp.encode_basic_auth("ana", "secret")


def session_of_ana() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers={"Authorization": CREDENTIALS})


@pytest.fixture
async def client(tmp_path: Path) -> Client:
    return await Client.make(tmp_path / "client")


async def test_first_push_clone_and_fetch(remote: Remote, client: Client, tmp_path: Path) -> None:
    first = await client.commit(a="1")
    said = await client.push(remote.url())
    assert "[new branch]      main -> main" in said.text
    assert remote.repository().ref("refs/heads/main") == first
    clone = Client(tmp_path / "clone")
    await client.git("clone", "-q", remote.url(), str(clone.folder))
    assert (clone.folder / "a.py").read_text() == "1"
    second = await client.commit(a="2")
    await client.push(remote.url())
    await clone.git("fetch", "-q")
    assert (await clone.git("rev-parse", "origin/main")).text.strip() == second
    assert remote.opened == remote.closed


@pytest.mark.parametrize("version", ["0", "1", "2"])
async def test_every_protocol_version_clones_and_fetches(
    remote: Remote, client: Client, tmp_path: Path, version: str
) -> None:
    await client.commit(a="1")
    await client.git("-c", f"protocol.version={version}", "push", "-q", remote.url(), "main")
    await client.git("-c", f"protocol.version={version}", "clone", "-q", remote.url(), str(tmp_path / "clone"))
    assert (tmp_path / "clone" / "a.py").read_text() == "1"


async def test_shallow_and_partial_clones(remote: Remote, client: Client, tmp_path: Path) -> None:
    for number in range(3):
        await client.commit(a=str(number))
    await client.push(remote.url())
    await client.git("clone", "-q", "--depth=1", remote.url(), str(tmp_path / "shallow"))
    shallow = Client(tmp_path / "shallow")
    assert (await shallow.git("rev-list", "--count", "HEAD")).text.strip() == "1"
    await client.git("clone", "-q", "--filter=blob:none", remote.url(), str(tmp_path / "partial"))
    partial = Client(tmp_path / "partial")
    assert (await partial.git("show", "HEAD~2:a.py")).text == "0"


async def test_a_first_push_from_a_shallow_clone_is_refused_by_git(
    remote: Remote, client: Client, tmp_path: Path
) -> None:
    for number in range(3):
        await client.commit(a=str(number))
    await client.push(remote.url())
    await client.git("clone", "-q", "--depth=1", remote.url(), str(tmp_path / "shallow"))
    said = await Client(tmp_path / "shallow").push(remote.url("other"), code=1)
    assert "shallow update not allowed" in said.text


async def test_each_ref_has_its_own_verdict_in_our_words(remote: Remote, client: Client) -> None:
    await client.commit()
    await client.git("tag", "v1")
    remote.refusals = {"refs/heads/main": "clowdy.yaml:14:11 twice\x1b[31m\nand more"}
    said = await client.push(remote.url(), "main", "v1", code=1)
    assert re.search(r"! \[remote rejected\] main -> main \(clowdy.yaml:14:11 twice.*and more\)", said.text)
    assert "\x1b" not in said.text
    assert "[new tag]         v1 -> v1" in said.text
    assert set(remote.repository().refs()) == {"refs/tags/v1"}


async def test_live_takes_tags_and_commits_in_both_directions_without_force(remote: Remote, client: Client) -> None:
    first = await client.commit(a="1")
    await client.git("tag", "-a", "-m", "one", "v1")
    second = await client.commit(a="2")
    await client.push(remote.url(), "main", "main:live", "v1")
    live = "refs/heads/live"
    assert remote.repository().ref(live) == second
    said = await client.push(remote.url(), "v1:live")
    assert re.search(rf"\+ {second[:7]}\.\.\.{first[:7]} +v1 -> live \(forced update\)", said.text)
    assert remote.repository().ref(live) == first
    await client.push(remote.url(), f"{second}:live")
    await client.push(remote.url(), "HEAD~1:live")
    assert remote.repository().ref(live) == first
    assert "up-to-date" not in (await client.push(remote.url(), "HEAD~1:live")).text
    assert (await client.git("ls-remote", remote.url(), live)).text.startswith(first)


async def test_internal_refs_are_invisible_and_their_push_reaches_the_judge(remote: Remote, client: Client) -> None:
    commit = await client.commit()
    await client.push(remote.url())
    await client.git("--git-dir", str(remote.repository().path), "update-ref", "refs/clowdy/history", commit)
    assert "clowdy/" not in (await client.git("ls-remote", remote.url())).text.replace("refs/heads", "")
    remote.refusals = {"refs/clowdy/history": "refs/clowdy/* belongs to the server"}
    said = await client.push(remote.url(), "--", "main:refs/clowdy/history", "main:other", code=1)
    assert "(refs/clowdy/* belongs to the server)" in said.text
    assert "main -> other" in said.text
    assert f" {NULL}".encode() not in await remote.wire.advertise(Service.PUSH, remote.repository().path)


async def test_push_options_and_atomic_arrive(remote: Remote, client: Client) -> None:
    await client.commit()
    await client.push(remote.url(), options=["--atomic", "-o", "plan", "-o", "a;b=c"])
    assert remote.asked[-1].options == ("plan", "a;b=c")
    assert remote.asked[-1].atomic
    await client.commit()
    await client.push(remote.url())
    assert remote.asked[-1].options == ()
    assert not remote.asked[-1].atomic


async def test_deletion_has_no_quarantine_and_is_judged(remote: Remote, client: Client) -> None:
    commit = await client.commit()
    await client.push(remote.url(), "main", "main:old")
    said = await client.push(remote.url(), ":old")
    assert "[deleted]" in said.text
    assert remote.asked[-1].refs == ((commit, NULL, "refs/heads/old"),)
    assert remote.repository().ref("refs/heads/old") is None


async def test_what_is_said_streams_to_the_client(remote: Remote, client: Client) -> None:
    heard = asyncio.Event()

    async def speak(say: Say, push: ProcReceive) -> None:
        await say("building\x07")
        await asyncio.wait_for(heard.wait(), 10)

    remote.speak = speak
    await client.commit()
    process = await client.start("push", remote.url(), "main")
    assert process.stdout is not None
    while line := await process.stdout.readline():
        if b"building" in line:
            assert b"\x07" not in line
            heard.set()
    assert await process.wait() == 0


async def test_a_push_goes_on_when_its_client_is_killed(remote: Remote, client: Client) -> None:
    building, go_on = asyncio.Event(), asyncio.Event()

    async def speak(say: Say, push: ProcReceive) -> None:
        building.set()
        await go_on.wait()

    remote.speak = speak
    commit = await client.commit()
    process = await client.start("push", remote.url(), "main")
    await asyncio.wait_for(building.wait(), 10)
    os.killpg(process.pid, signal.SIGKILL)
    await process.communicate()
    go_on.set()
    await asyncio.wait_for(remote.wire.close(), 10)
    assert remote.repository().ref("refs/heads/main") == commit
    assert remote.opened == remote.closed
    assert not list(remote.repository().path.glob("objects/tmp_objdir*"))


async def test_two_pushes_at_once_and_the_loser_is_told(remote: Remote, client: Client, tmp_path: Path) -> None:
    await client.commit(a="1")
    await client.push(remote.url())
    await client.git("clone", "-q", remote.url(), str(tmp_path / "other"))
    other = Client(tmp_path / "other")
    await client.commit(a="2")
    await other.commit(b="3")
    both = asyncio.Event()

    async def speak(say: Say, push: ProcReceive) -> None:
        if len(remote.asked) == 3:
            both.set()
        await asyncio.wait_for(both.wait(), 10)

    remote.speak = speak
    said = await asyncio.gather(client.push(remote.url(), code=None), other.push(remote.url(), code=None))
    assert sorted(each.code for each in said) == [0, 1]
    loser = next(each for each in said if each.code == 1)
    assert "(refs/heads/main moved meanwhile)" in loser.text


async def test_nobody_without_a_token(remote: Remote, client: Client) -> None:
    await client.commit()
    await client.push(remote.url())
    said = await client.git("ls-remote", remote.url(token="wrong"), code=128)
    assert "Authentication failed" in said.text or "could not read" in said.text
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{remote.port}/git/shop.git/info/refs?service=git-upload-pack"
        answer = await session.get(url)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="clowdy"'


async def test_a_project_that_does_not_exist(remote: Remote, client: Client) -> None:
    said = await client.git("ls-remote", remote.url("nothing"), code=128)
    assert "not found" in said.text
    remote.scope = Scope.DEPLOY
    await client.commit()
    said = await client.push(remote.url("nothing"), code=128)
    assert "not found" in said.text
    assert remote.projects == {}


async def test_a_probe_creates_nothing(remote: Remote) -> None:
    async with session_of_ana() as session:
        answer = await session.post(
            f"http://127.0.0.1:{remote.port}/git/new.git/git-receive-pack",
            data=b"0000",
            headers={"Content-Type": "application/x-git-receive-pack-request"},
        )
        assert answer.status == 200
        assert await answer.read() == b""
        assert answer.headers["Content-Type"] == "application/x-git-receive-pack-result"
    assert remote.projects == {}
    assert remote.opened == []


async def test_a_large_push_is_sent_in_chunks_after_a_probe(remote: Remote, client: Client) -> None:
    (client.folder / "noise.bin").write_bytes(os.urandom(3_000_000))
    await client.commit()
    await client.git("-c", "http.postBuffer=65536", "push", "-q", remote.url(), "main")
    assert remote.repository().ref("refs/heads/main") is not None


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("git-receive-pack", {"Content-Type": "text/plain"}, 415),
        ("git-receive-pack", {"Content-Type": "application/x-git-upload-pack-request"}, 415),
        ("git-receive-pack?service=git-upload-pack", {"Content-Type": "application/x-git-upload-pack-request"}, 415),
        ("git-upload-pack", {"Content-Type": "application/x-git-upload-pack-request; charset=x"}, 415),
        ("git-upload-archive", {"Content-Type": "application/x-git-upload-archive-request"}, 404),
        ("objects/info/packs", {}, 404),
        ("HEAD", {}, 404),
        ("config", {}, 404),
    ],
)
async def test_only_the_two_services_answer(
    remote: Remote, client: Client, path: str, headers: dict[str, str], status: int
) -> None:
    await client.commit()
    await client.push(remote.url())
    async with session_of_ana() as session:
        url = f"http://127.0.0.1:{remote.port}/git/shop.git/{path}"
        assert (await session.post(url, data=b"0000", headers=headers)).status == status
        assert (await session.get(url)).status in (404, 405)


@pytest.mark.parametrize("query", ["", "service=", "service=git-upload-archive", "service=git-upload-pack&service=x"])
async def test_info_refs_wants_one_known_service(remote: Remote, query: str) -> None:
    async with session_of_ana() as session:
        assert (await session.get(f"http://127.0.0.1:{remote.port}/git/shop.git/info/refs?{query}")).status == 403


@pytest.mark.parametrize("project", ["..%2Fshop", "shop%2F..%2Fshop", "SHOP", "shop%00", "-shop", "shop.git", "."])
async def test_odd_project_names_are_not_found(remote: Remote, client: Client, project: str) -> None:
    await client.commit()
    await client.push(remote.url())
    async with session_of_ana() as session:
        for service, status in ((Service.FETCH, 404), (Service.PUSH, 422)):
            url = f"http://127.0.0.1:{remote.port}/git/{project}.git/info/refs?service={service}"
            assert (await session.get(yarl.URL(url, encoded=True))).status == status


async def test_gzip_bodies_are_inflated(remote: Remote, client: Client) -> None:
    commit = await client.commit()
    await client.push(remote.url())
    body = gzip.compress(pkt(f"want {commit} side-band-64k ofs-delta\n".encode()) + FLUSH + pkt(b"done\n"))
    async with session_of_ana() as session:
        answer = await session.post(
            f"http://127.0.0.1:{remote.port}/git/shop.git/git-upload-pack",
            data=body,
            headers={"Content-Type": "application/x-git-upload-pack-request", "Content-Encoding": "gzip"},
        )
        assert answer.status == 200
        assert b"PACK" in await answer.read()


async def test_a_body_cut_in_the_middle_leaves_nothing(remote: Remote, client: Client) -> None:
    commit = await client.commit()
    await client.push(remote.url())
    head = pkt(f"{commit} {commit[::-1]} refs/heads/main\0report-status side-band-64k".encode()) + FLUSH + b"PACK"
    reader, writer = await asyncio.open_connection("127.0.0.1", remote.port)
    writer.write(
        b"POST /git/shop.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nAuthorization: "
        + CREDENTIALS.encode()
        + b"\r\nContent-Type: application/x-git-receive-pack-request\r\nContent-Length: 100000\r\n\r\n"
        + head
    )
    await writer.drain()
    while len(remote.opened) < 2:
        await asyncio.sleep(0.01)
    writer.close()
    await asyncio.wait_for(remote.wire.close(), 10)
    assert len(remote.judged) == 1
    assert remote.opened == remote.closed
    assert not list(remote.repository().path.glob("objects/tmp_objdir*"))
    assert reader.at_eof() or not await reader.read()
