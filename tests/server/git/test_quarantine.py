"""Hostile pushes end in quarantine, with a reason, in little memory and time, and leave nothing."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from clowdy.schema.units import MEBIBYTE
from clowdy.server.git.hook_messages import PreReceive
from clowdy.server.git.quarantine import judge
from clowdy.server.git.refnames import NULL
from clowdy.server.git.repos import Repositories, Repository
from clowdy.server.git.settings import GitSettings

from .packs import Builder, request
from .remote import Remote

MAIN = "refs/heads/main"
FILE, FOLDER, LINK, SUBMODULE = "100644", "40000", "120000", "160000"
CREDENTIALS = aiohttp.encode_basic_auth("mallory", "secret")


async def send(remote: Remote, body: bytes, project: str = "shop") -> str:
    """What the server's git answers to a push made by hand."""
    async with aiohttp.ClientSession() as session:
        answer = await session.post(
            f"http://127.0.0.1:{remote.port}/git/{project}.git/git-receive-pack",
            data=body,
            headers={"Content-Type": "application/x-git-receive-pack-request", "Authorization": CREDENTIALS},
        )
        return (await answer.read()).decode(errors="replace")


async def refused(remote: Remote, builder: Builder, tip: str, ref: str = MAIN) -> str:
    """The answer to a push that must not have reached the store."""
    said = await send(remote, request((NULL, tip, ref), data=builder.pack()))
    repository = remote.repository()
    assert f"ok {ref}" not in said
    assert remote.asked == []
    assert repository.refs() == {}
    assert not repository.objects.has(tip)
    assert not list(repository.path.glob("objects/tmp_objdir*"))
    return said


def bomb(builder: Builder, levels: int, width: int) -> str:
    inner = builder.tree((FILE, b"f", builder.blob(b"x")))
    for _ in range(levels):
        inner = builder.tree(*((FOLDER, b"%02d" % number, inner) for number in range(width)))
    return inner


def deep(builder: Builder, levels: int) -> str:
    inner = builder.tree((FILE, b"f", builder.blob(b"x")))
    for _ in range(levels):
        inner = builder.tree((FOLDER, b"d", inner))
    return inner


def wide(builder: Builder, files: int) -> str:
    blob = builder.blob(b"x")
    return builder.tree(*((FILE, b"%06d" % number, blob) for number in range(files)))


def empty_folders(builder: Builder) -> str:
    inner = builder.tree()
    for _ in range(8):
        inner = builder.tree(*((FOLDER, b"%02d" % number, inner) for number in range(16)))
    return inner


def one_blob_many_times(builder: Builder) -> str:
    blob = builder.blob(bytes(1024 * 1024))
    return builder.tree(*((FILE, b"%06d" % number, blob) for number in range(600)))


def long_path(builder: Builder) -> str:
    inner = builder.tree((FILE, b"f", builder.blob(b"x")))
    for _ in range(20):
        inner = builder.tree((FOLDER, b"d" * 200, inner))
    return inner


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda builder: bomb(builder, 10, 10), "more than 50,000 files"),
        (empty_folders, "more than 50,000 files"),
        (lambda builder: wide(builder, 50_001), "more than 50,000 files"),
        (lambda builder: deep(builder, 100), "more than 100 levels"),
        (lambda builder: deep(builder, 5000), "more than 100 levels"),
        (one_blob_many_times, "larger than 512 MB unpacked"),
        (lambda builder: builder.tree((FILE, b"n" * 300, builder.blob(b"x"))), "a name of 300 bytes"),
        (long_path, "too long"),
        (lambda builder: builder.tree(("777777", b"odd", builder.blob(b"x"))), "mode 777777"),
    ],
)
async def test_trees_that_could_not_be_laid_out(remote: Remote, make: Callable[[Builder], str], reason: str) -> None:
    builder = Builder()
    tip = builder.commit(make(builder))
    began = time.monotonic()
    assert reason in await refused(remote, builder, tip)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "name", [b".git", b".GIT", b"git~1", b"..", b".", b".g\xe2\x80\x8cit", b"", b"a/b"], ids=lambda name: repr(name)
)
async def test_names_that_would_leave_the_folder(remote: Remote, name: bytes) -> None:
    builder = Builder()
    await refused(remote, builder, builder.commit(builder.tree((FILE, name, builder.blob(b"x")))))


@pytest.mark.parametrize(
    "content",
    [
        b'[submodule "x"]\n\tpath = x\n\turl = -oProxyCommand=touch${IFS}x\n',
        b'[submodule "../x"]\n\tpath = x\n\turl = https://example.com/x\n',
        b'[submodule "x"]\n\tpath = x\n\turl = https://example.com/x\n\tupdate = !touch x\n',
    ],
)
async def test_hostile_submodules(remote: Remote, content: bytes) -> None:
    builder = Builder()
    tip = builder.commit(builder.tree((FILE, b".gitmodules", builder.blob(content)), (SUBMODULE, b"x", "ab" * 20)))
    assert "gitmodules" in await refused(remote, builder, tip)


async def test_links_and_submodules_are_for_the_checks_to_judge(remote: Remote) -> None:
    builder = Builder()
    tip = builder.commit(builder.tree((LINK, b"etc", builder.blob(b"/etc/passwd")), (SUBMODULE, b"sub", "ab" * 20)))
    assert f"ok {MAIN}" in await send(remote, request((NULL, tip, MAIN), data=builder.pack()))


@contextlib.asynccontextmanager
async def limited(remote: Remote, **limits: int) -> AsyncIterator[Remote]:
    """The same with other limits."""
    settings = replace(remote.settings, limits=replace(remote.settings.limits, **limits))
    folder = remote.folder / "limited"
    folder.mkdir()
    repositories = Repositories(folder / "repositories", settings)
    small = Remote(folder, settings, repositories)
    await small.open()
    yield small
    await small.close()
    repositories.close()


@pytest.mark.parametrize("files", [3, 200], ids=["unpacked by git", "kept as a pack"])
async def test_a_small_pack_that_unpacks_to_much(remote: Remote, files: int) -> None:
    builder = Builder()
    size = 3 * MEBIBYTE // files
    entries = [(FILE, b"%03d" % number, builder.blob(bytes([number]) * size)) for number in range(files)]
    tip = builder.commit(builder.tree(*entries))
    assert len(builder.pack()) < MEBIBYTE // 10
    async with limited(remote, unpacked_bytes=2 * MEBIBYTE) as small:
        assert "the push is larger than 2 MB unpacked" in await refused(small, builder, tip)


async def test_a_bomb_in_the_middle_of_a_history(remote: Remote) -> None:
    builder = Builder()
    parent = builder.commit(builder.tree((FILE, b"f", builder.blob(bytes(3 * MEBIBYTE)))))
    tip = builder.commit(builder.tree((FILE, b"f", builder.blob(b"x"))), parent)
    async with limited(remote, unpacked_bytes=2 * MEBIBYTE) as small:
        assert "the push is larger than 2 MB unpacked" in await refused(small, builder, tip)


@pytest.mark.slow
async def test_a_commit_as_large_as_a_film(remote: Remote) -> None:
    builder = Builder()
    tip = builder.commit(builder.tree((FILE, b"f", builder.blob(b"x"))), message=b"x" * 17 * MEBIBYTE)
    assert "has 17 MB" in await refused(remote, builder, tip)


@pytest.mark.slow
async def test_300_megabytes_of_zeros(remote: Remote) -> None:
    builder = Builder()
    tip = builder.commit(builder.tree((FILE, b"zero", builder.blob(bytes(300 * MEBIBYTE)))))
    assert f"ok {MAIN}" in await send(remote, request((NULL, tip, MAIN), data=builder.pack()))
    assert remote.repository().count(remote.repository().commit(tip).tree).bytes == 300 * MEBIBYTE


async def test_a_pack_that_claims_two_thousand_million_objects(remote: Remote) -> None:
    body = request((NULL, "ab" * 20, MAIN), data=b"PACK" + (2).to_bytes(4, "big") + (2_000_000_000).to_bytes(4, "big"))
    said = await send(remote, body)
    assert f"ok {MAIN}" not in said
    assert "unpack" in said


@pytest.mark.parametrize(
    "ref", ["refs/heads/../../config", "refs/heads/a b", "refs/heads/.a", "HEAD", "refs/heads/a.lock", "config"]
)
async def test_bad_ref_names_never_move(remote: Remote, ref: str) -> None:
    builder = Builder()
    tip = builder.commit(builder.tree((FILE, b"f", builder.blob(b"x"))))
    await refused(remote, builder, tip, ref)


async def test_objects_that_are_missing(remote: Remote) -> None:
    builder = Builder()
    tip = builder.commit("ab" * 20)
    await refused(remote, builder, tip)


async def test_a_ref_to_an_object_that_is_not_there(remote: Remote) -> None:
    said = await send(remote, request((NULL, "ab" * 20, MAIN), data=Builder().pack()))
    assert f"ok {MAIN}" not in said


async def test_a_push_over_the_limit_says_which(remote: Remote) -> None:
    builder = Builder()
    tip = builder.commit(builder.tree((FILE, b"noise", builder.blob(os.urandom(MEBIBYTE // 2)))))
    async with limited(remote, pack_bytes=MEBIBYTE // 4) as small:
        assert "the push is larger than 256 KB" in await refused(small, builder, tip)


async def test_a_tree_that_is_already_here_is_judged_again_by_its_limits(
    remote: Remote, repository: Repository
) -> None:
    files = repository.write_commit({f"{number:03d}": b"x" for number in range(20)}, [], "m", "ana", 0.0)
    narrow = replace(repository.settings, limits=replace(repository.settings.limits, files=10))
    repository.settings = narrow
    push = PreReceive("p", str(repository.path), ((NULL, files, MAIN),), "")
    assert judge(repository, push) == [f"{MAIN}: the tree has more than 10 files"]


def test_objects_outside_of_the_repository_are_not_judged(repositories: Repositories, repository: Repository) -> None:
    for folder in ("/tmp", str(repository.path / "objects"), str(repository.path / "objects" / ".." / "tmp_objdir-x")):
        push = PreReceive("p", str(repository.path), ((NULL, "ab" * 20, MAIN),), folder)
        assert judge(repository, push) == ["the push cannot be judged: its objects are not where git keeps them"]


def test_a_push_with_a_broken_tip_is_refused(repository: Repository) -> None:
    push = PreReceive("p", str(repository.path), ((NULL, "ab" * 20, MAIN),), "")
    assert judge(repository, push) == [f"object {'ab' * 20} is not in this repository"]


def test_too_many_refs(repository: Repository, settings: GitSettings, tmp_path: Path) -> None:
    refs = tuple((NULL, "ab" * 20, f"refs/heads/{number}") for number in range(settings.limits.refs + 1))
    assert judge(repository, PreReceive("p", ".", refs, "")) == ["the push has more than 5,000 refs"]
