"""Requirements become locks and what functions use, in isolation, from a folder of wheels: in folders and in images."""

from __future__ import annotations

import asyncio
import marshal
import os
import secrets
import stat
import subprocess
from pathlib import Path
from types import CodeType

import pytest

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.layers.api import BuildFailed
from clowdy.runtimes.layers.index import Index
from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.layers.pip_settings import find_index
from clowdy.schema.locks import Lock, Wanted, pin
from clowdy.schema.units import MEBIBYTE
from tests.contracts.world import processes_with
from tests.runtimes.layers.wheels import digest_of, make_source, make_wheel
from tests.runtimes.layers.workplaces import Workplace, ignore, installed, lock_of, refusal

pytestmark = pytest.mark.slow


async def test_what_uv_alone_refuses_names_no_file_of_the_build(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clowdy.schema.locks.check_requirement", lambda line: line)
    said = await refusal(await workplace.open(), "bb_")
    assert "wanted.txt" not in said
    assert "in the requirements at position 0" in said


async def test_what_is_required_is_there_with_what_it_requires(workplace: Workplace) -> None:
    make_wheel(workplace.folder / "wheels", "needy", requires=["needed>=2"])
    make_wheel(workplace.folder / "wheels", "needed", "1.0")
    wheel = make_wheel(workplace.folder / "wheels", "needed", "2.1")
    builder = await workplace.open()
    said: list[str] = []
    lock = await builder.resolve(Wanted(("needy",)), say=said.append)
    assert dict(lock.versions) == {"needed": "2.1", "needy": "1.0"}
    assert lock.pins[0].hashes == (digest_of(wheel),)
    await builder.build(lock, said.append)
    layer = await workplace.layer(lock)
    script = "import needy, needed; print(needed.VERSION)"
    command = ["/usr/bin/python3", "-I", "-S", "-c", f"import sys; sys.path.append({str(layer)!r}); {script}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "2.1\n"
    assert builder.has(lock.digest)
    assert 0 < builder.sizes()[lock.digest] < MEBIBYTE
    assert [line.split(" in ")[0] for line in said][-4:] == [
        "Installed 2 packages", "+ needed==2.1", "+ needy==1.0", said[-1],
    ]  # fmt: skip
    assert said[-1].startswith("2 packages installed")


async def test_a_layer_is_compiled_for_good_and_closed_to_everybody(workplace: Workplace) -> None:
    make_wheel(
        workplace.folder / "wheels", "one", files={"one/__init__.py": "def f(): pass\n", "one/bad.py": "print 'two'\n"}
    )
    lock = await installed(await workplace.open(), "one")
    layer = await workplace.layer(lock)
    compiled = next((layer / "one" / "__pycache__").glob("__init__.*.pyc")).read_bytes()
    # PEP 552: by hash, and not to be checked against the source.
    assert int.from_bytes(compiled[4:8], "little") == 0b01
    code = marshal.loads(compiled[16:])
    assert isinstance(code, CodeType)
    assert code.co_filename == "/packages/one/__init__.py"
    for path in (layer, *layer.rglob("*")):
        status = path.lstat()
        assert not status.st_mode & 0o222
        assert status.st_uid == workplace.owner
        assert stat.S_IMODE(status.st_mode) == (0o555 if path.is_dir() else 0o444)
    assert not (layer / ".lock").exists()


async def test_a_file_that_cannot_be_compiled_leaves_the_others_compiled(workplace: Workplace) -> None:
    files = {f"one/m{number}.py": "" for number in range(20)}
    files |= {"one/deep.py": "-" * 3_000_000 + "1\n", "one/binary.py": "\0", "one/coded.py": "# coding: nothing\n"}
    make_wheel(workplace.folder / "wheels", "one", files=files)
    lock = await installed(await workplace.open(), "one")
    compiled = {path.name.split(".")[0] for path in (await workplace.layer(lock)).rglob("*.pyc")}
    assert {f"m{number}" for number in range(20)} <= compiled
    assert not compiled & {"binary", "coded", "deep"}


async def test_the_same_lock_is_built_once_when_two_ask_at_the_same_time(workplace: Workplace) -> None:
    make_wheel(workplace.folder / "wheels", "one")
    builder = await workplace.open()
    lock = await builder.resolve(Wanted(("one",)), say=ignore)
    first: list[str] = []
    second: list[str] = []
    await asyncio.gather(builder.build(lock, first.append), builder.build(lock, second.append))
    assert first == second
    assert sum(line.startswith("Installed") for line in first) == 1
    third: list[str] = []
    await builder.build(lock, third.append)
    assert third == []
    again = await workplace.open()
    await again.build(lock, third.append)
    assert third == []


async def test_one_who_leaves_does_not_end_the_build_of_the_others(workplace: Workplace) -> None:
    make_wheel(workplace.folder / "wheels", "one")
    builder = await workplace.open()
    lock = await builder.resolve(Wanted(("one",)), say=ignore)
    leaving = asyncio.create_task(builder.build(lock, ignore))
    staying = asyncio.create_task(builder.build(lock, ignore))
    await asyncio.sleep(0.05)
    leaving.cancel()
    await staying
    assert builder.has(lock.digest)


async def test_when_everyone_leaves_the_build_ends_and_leaves_nothing(workplace: Workplace) -> None:
    make_wheel(workplace.folder / "wheels", "one")
    builder = await workplace.open()
    lock = await builder.resolve(Wanted(("one",)), say=ignore)
    leaving = asyncio.create_task(builder.build(lock, ignore))
    await asyncio.wait([leaving], timeout=0.1)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert not builder.has(lock.digest)
    assert await workplace.left() == []
    await builder.build(lock, ignore)
    assert builder.has(lock.digest)


async def test_versions_of_the_lock_before_are_kept_where_they_fit(workplace: Workplace) -> None:
    for version in ("1.0", "2.0"):
        make_wheel(workplace.folder / "wheels", "one", version)
        make_wheel(workplace.folder / "wheels", "two", version)
    builder = await workplace.open()
    before = Lock.of([pin("one", "1.0", ["a" * 64]), pin("two", "1.0", ["a" * 64])], builder.python, builder.platform)
    kept = await builder.resolve(Wanted(("one", "two>=2")), before=before, say=ignore)
    assert dict(kept.versions) == {"one": "1.0", "two": "2.0"}
    assert "a" * 64 not in kept.text
    newest = await builder.resolve(Wanted(("one", "two>=2")), say=ignore)
    assert dict(newest.versions) == {"one": "2.0", "two": "2.0"}


async def test_a_lock_of_the_repository_is_taken_as_it_is_less_what_is_for_elsewhere(workplace: Workplace) -> None:
    wheel = make_wheel(workplace.folder / "wheels", "one")
    builder = await workplace.open()
    here = f"one==1.0 --hash=sha256:{digest_of(wheel)}"
    elsewhere = f"far==1.0 ; sys_platform == 'win32' --hash=sha256:{'a' * 64}"
    lock = await builder.resolve(Wanted(("one",), f"{here}\n{elsewhere}\n"), say=ignore)
    assert dict(lock.versions) == {"one": "1.0"}
    await builder.build(lock, ignore)
    both = f"{here}\none==2.0 ; os_name == 'posix' --hash=sha256:{'a' * 64}".replace("1.0", "1.0 ; os_name != 'nt'", 1)
    with pytest.raises(BuildFailed, match="one twice here"):
        await builder.resolve(Wanted((), both), say=ignore)


async def test_nothing_required_is_an_empty_layer(workplace: Workplace) -> None:
    lock = await installed(await workplace.open())
    assert lock.text == ""
    assert list((await workplace.layer(lock)).iterdir()) == []


async def test_what_cannot_be_resolved_is_told_in_the_resolvers_words(workplace: Workplace) -> None:
    make_wheel(workplace.folder / "wheels", "first", requires=["base<2"])
    make_wheel(workplace.folder / "wheels", "second", requires=["base>=2"])
    for version in ("1.0", "2.0"):
        make_wheel(workplace.folder / "wheels", "base", version)
    make_wheel(workplace.folder / "wheels", "windows-only", tag="cp311-cp311-win_amd64")
    make_source(workplace.folder / "wheels", "sourceonly")
    builder = await workplace.open()
    assert "missing-one was not found" in await refusal(builder, "missing-one")
    conflict = await refusal(builder, "first", "second")
    assert "base<2" in conflict
    assert "base>=2" in conflict
    assert "win_amd64" in await refusal(builder, "windows-only")
    assert "sourceonly" in (text := await refusal(builder, "sourceonly"))
    assert "no usable wheels" in text or "wheel" in text
    assert builder.sizes() == {}


async def test_a_file_with_another_hash_than_the_locks_is_not_installed(workplace: Workplace) -> None:
    wheel = make_wheel(workplace.folder / "wheels", "one")
    builder = await workplace.open()
    lock = lock_of(builder, wheel)
    make_wheel(workplace.folder / "wheels", "one", files={"one.py": "evil = True\n"})
    with pytest.raises(BuildFailed) as caught:
        await builder.build(lock, ignore)
    assert "Hash mismatch" in caught.value.text
    assert digest_of(wheel) in caught.value.text
    assert not builder.has(lock.digest)


async def test_a_lock_for_another_python_is_not_built(workplace: Workplace) -> None:
    builder = await workplace.open()
    with pytest.raises(BuildFailed, match=r"for Python 3\.2"):
        await builder.build(Lock.of([], "3.2", builder.platform), ignore)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (BuildLimits(layer_files=400), "more than 400 files"),
        (BuildLimits(layer_bytes=4 * MEBIBYTE), "more than 4 MB when they are installed"),
    ],
)
async def test_more_than_the_limits_is_refused(workplace: Workplace, limits: BuildLimits, words: str) -> None:
    many = {f"large/f{number}": b"" for number in range(500)}
    wheel = make_wheel(workplace.folder / "wheels", "large", files={"large/zeros": bytes(8 * MEBIBYTE), **many})
    builder = await workplace.open(limits=limits)
    with pytest.raises(BuildFailed) as caught:
        await builder.build(lock_of(builder, wheel), ignore)
    assert words in caught.value.text
    assert builder.sizes() == {}


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (BuildLimits(seconds=0.1), "longer than 0.1 s"),
        (BuildLimits(free_bytes=1 << 60), "the disk is full"),
        (BuildLimits(stall_seconds=0.5), "for 0.5 s"),
    ],
)
async def test_what_never_ends_is_ended(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, limits: BuildLimits, words: str
) -> None:
    marker = f"12345.{secrets.randbelow(10**9)}"
    workplace.replace_uv(monkeypatch, f"trap '' TERM; sleep {marker} & sleep {marker}")
    builder = await workplace.open(limits=limits)
    assert words in await refusal(builder, "one")
    assert processes_with(marker) == []


async def test_a_wheel_that_inflates_without_end_is_stopped_on_the_way(workplace: Workplace) -> None:
    bomb = {f"large/f{number}": bytes(64 * MEBIBYTE) for number in range(10)}
    wheel = make_wheel(workplace.folder / "wheels", "large", files=bomb)
    assert wheel.stat().st_size < 4 * MEBIBYTE
    builder = await workplace.open(limits=BuildLimits(layer_bytes=80 * MEBIBYTE))
    with pytest.raises(BuildFailed, match="more than 80 MB"):
        await builder.build(lock_of(builder, wheel), ignore)


async def test_memory_is_limited(workplace: Workplace) -> None:
    # What compiles to much: nothing of it ever runs.
    source = "x = [" + "[1.5, 2.5, {'a': 'b'}], " * 400_000 + "]\n"
    wheel = make_wheel(workplace.folder / "wheels", "large", files={"large.py": source})
    builder = await workplace.open(limits=BuildLimits(memory_bytes=96 * MEBIBYTE))
    with pytest.raises(BuildFailed, match="more than 96 MB of memory"):
        await builder.build(lock_of(builder, wheel), ignore)


@pytest.mark.parametrize("inside", ["../evil.py", "../../../../../../evil.py", "/evil.py", "one/../../evil.py"])
async def test_a_wheel_cannot_leave_its_layer(workplace: Workplace, inside: str) -> None:
    wheel = make_wheel(workplace.folder / "wheels", "one", files={"one.py": "", inside: "evil = True\n"})
    builder = await workplace.open()
    lock = lock_of(builder, wheel)
    try:
        await builder.build(lock, ignore)
    except BuildFailed:
        assert not builder.has(lock.digest)
    layer = await workplace.layer(lock)
    found = {path for path in workplace.folder.rglob("evil.py") if not path.is_relative_to(layer)}
    assert found == set()
    assert not Path("/evil.py").exists()


async def test_links_and_start_up_files_of_a_wheel_do_nothing(workplace: Workplace) -> None:
    wheel = make_wheel(
        workplace.folder / "wheels",
        "one",
        files={"one.py": "", "evil.pth": "import os; os.system('touch /build/site/ran /packages/ran')\n"},
        links={"shadow": "/etc/shadow"},
    )
    builder = await workplace.open()
    lock = lock_of(builder, wheel)
    try:
        await builder.build(lock, ignore)
    except BuildFailed:
        return
    layer = await workplace.layer(lock)
    assert not any(path.is_symlink() for path in layer.rglob("*"))
    assert not (layer / "ran").exists()


async def test_a_certificate_that_is_not_there_is_named(workplace: Workplace) -> None:
    index = Index(no_index=True, find_links=(str(workplace.folder / "wheels"),), certificates="/not/there.pem")
    with pytest.raises(DriverUnavailable, match=r"/not/there\.pem"):
        await (await workplace.open(index)).resolve(Wanted(("one",)), say=ignore)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has users for builds")
async def test_a_folder_of_packages_that_builds_cannot_read_is_named(workplace: Workplace) -> None:
    (workplace.folder / "wheels").chmod(0o700)
    with pytest.raises(DriverUnavailable, match=r"/wheels, where packages are to be found, .* Cure: chmod o\+rx"):
        await (await workplace.open()).resolve(Wanted(("one",)), say=ignore)


async def test_a_layer_that_is_removed_is_built_again(workplace: Workplace) -> None:
    make_wheel(workplace.folder / "wheels", "one")
    builder = await workplace.open()
    lock = await installed(builder, "one")
    await builder.remove([lock.digest, "f" * 64, "../wheels"])
    assert not builder.has(lock.digest)
    assert not (await workplace.layer(lock)).exists()
    assert (workplace.folder / "wheels").exists()
    assert builder.sizes() == {}
    await builder.build(lock, ignore)
    assert builder.has(lock.digest)


async def test_an_index_on_this_machines_loopback_is_out_of_reach(workplace: Workplace) -> None:
    builder = await workplace.open(Index(default="http://user:hunter22@127.0.0.1:9/simple"))
    with pytest.raises(DriverUnavailable) as caught:
        await builder.resolve(Wanted(("one",)), say=ignore)
    assert "127.0.0.1" in str(caught.value)
    assert "hunter22" not in str(caught.value)


async def test_packages_of_the_registry_are_installed_over_a_network_of_their_own(workplace: Workplace) -> None:
    builder = await workplace.open(find_index(os.environ))
    said: list[str] = []
    try:
        lock = await builder.resolve(Wanted(("idna",)), say=said.append)
    except (DriverUnavailable, BuildFailed) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"THE PACKAGE INDEX CANNOT BE REACHED: {error}")
    await builder.build(lock, said.append)
    assert not any("own network" in line for line in said)
    assert list(lock.versions) == ["idna"]
    assert (await workplace.layer(lock) / "idna" / "__init__.py").exists()
