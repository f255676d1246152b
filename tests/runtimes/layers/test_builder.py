"""Requirements become locks and layers, in isolation and without a network, from a folder of wheels."""

from __future__ import annotations

import asyncio
import marshal
import os
import secrets
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, SimpleNamespace

import pytest

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.layers import premises
from clowdy.runtimes.layers.api import BuildFailed
from clowdy.runtimes.layers.builder import Apart, LayerBuilder
from clowdy.runtimes.layers.index import Index
from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.layers.pip_settings import find_index
from clowdy.runtimes.sandbox.network import Policy
from clowdy.schema.locks import Lock, Wanted, pin
from clowdy.schema.units import MEBIBYTE
from tests.contracts.world import processes_with
from tests.runtimes.layers.conftest import Make
from tests.runtimes.layers.wheels import digest_of, make_source, make_wheel

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
]


def ignore(line: str) -> None:
    """Nobody listens."""


async def installed(builder: LayerBuilder, *lines: str) -> Lock:
    lock = await builder.resolve(Wanted(lines), say=ignore)
    await builder.build(lock, ignore)
    return lock


def lock_of(builder: LayerBuilder, *wheels: Path) -> Lock:
    pins = [pin(*wheel.name.split("-")[:2], [digest_of(wheel)]) for wheel in wheels]
    return Lock.of(pins, builder.python, builder.platform)


async def refusal(builder: LayerBuilder, *lines: str) -> str:
    with pytest.raises(BuildFailed) as caught:
        await installed(builder, *lines)
    assert "/build" not in caught.value.text
    assert str(builder._folder) not in caught.value.text
    return caught.value.text


async def test_what_uv_alone_refuses_names_no_file_of_the_build(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clowdy.schema.locks.check_requirement", lambda line: line)
    said = await refusal(await make(), "bb_")
    assert "wanted.txt" not in said
    assert "in the requirements at position 0" in said


async def test_what_is_required_is_there_with_what_it_requires(make: Make, place: Path) -> None:
    make_wheel(place / "wheels", "needy", requires=["needed>=2"])
    make_wheel(place / "wheels", "needed", "1.0")
    wheel = make_wheel(place / "wheels", "needed", "2.1")
    builder = await make()
    said: list[str] = []
    lock = await builder.resolve(Wanted(("needy",)), say=said.append)
    assert dict(lock.versions) == {"needed": "2.1", "needy": "1.0"}
    assert lock.pins[0].hashes == (digest_of(wheel),)
    await builder.build(lock, said.append)
    layer = place / "layers" / lock.digest
    script = "import needy, needed; print(needed.VERSION)"
    command = ["/usr/bin/python3", "-I", "-S", "-c", f"import sys; sys.path.append({str(layer)!r}); {script}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "2.1\n"
    assert builder.has(lock.digest)
    assert 0 < builder.sizes()[lock.digest] < MEBIBYTE
    assert [line.split(" in ")[0] for line in said][-4:] == [
        "Installed 2 packages", "+ needed==2.1", "+ needy==1.0", said[-1],
    ]  # fmt: skip
    assert said[-1].startswith("2 packages installed")


async def test_a_layer_is_compiled_for_good_and_closed_to_everybody(make: Make, place: Path) -> None:
    make_wheel(place / "wheels", "one", files={"one/__init__.py": "def f(): pass\n", "one/bad.py": "print 'two'\n"})
    lock = await installed(await make(), "one")
    layer = place / "layers" / lock.digest
    compiled = next((layer / "one" / "__pycache__").glob("__init__.*.pyc")).read_bytes()
    # PEP 552: by hash, and not to be checked against the source.
    assert int.from_bytes(compiled[4:8], "little") == 0b01
    code = marshal.loads(compiled[16:])
    assert isinstance(code, CodeType)
    assert code.co_filename == "/packages/one/__init__.py"
    for path in (layer, *layer.rglob("*")):
        status = path.lstat()
        assert not status.st_mode & 0o222
        assert status.st_uid == os.geteuid()
        assert stat.S_IMODE(status.st_mode) == (0o555 if path.is_dir() else 0o444)
    assert not (layer / ".lock").exists()


def instead_of_uv(place: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = place / "uv"
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit 0\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setattr(premises, "find_uv", lambda folder, for_any_user: program)


async def test_a_file_that_cannot_be_compiled_leaves_the_others_compiled(make: Make, place: Path) -> None:
    files = {f"one/m{number}.py": "" for number in range(20)}
    files |= {"one/deep.py": "-" * 3_000_000 + "1\n", "one/binary.py": "\0", "one/coded.py": "# coding: nothing\n"}
    make_wheel(place / "wheels", "one", files=files)
    lock = await installed(await make(), "one")
    compiled = {path.name.split(".")[0] for path in (place / "layers" / lock.digest).rglob("*.pyc")}
    assert {f"m{number}" for number in range(20)} <= compiled
    assert not compiled & {"binary", "coded", "deep"}


async def test_the_same_lock_is_built_once_when_two_ask_at_the_same_time(make: Make, place: Path) -> None:
    make_wheel(place / "wheels", "one")
    builder = await make()
    lock = await builder.resolve(Wanted(("one",)), say=ignore)
    first: list[str] = []
    second: list[str] = []
    await asyncio.gather(builder.build(lock, first.append), builder.build(lock, second.append))
    assert first == second
    assert sum(line.startswith("Installed") for line in first) == 1
    third: list[str] = []
    await builder.build(lock, third.append)
    assert third == []
    again = await make()
    await again.build(lock, third.append)
    assert third == []


async def test_one_who_leaves_does_not_end_the_build_of_the_others(make: Make, place: Path) -> None:
    make_wheel(place / "wheels", "one")
    builder = await make()
    lock = await builder.resolve(Wanted(("one",)), say=ignore)
    leaving = asyncio.create_task(builder.build(lock, ignore))
    staying = asyncio.create_task(builder.build(lock, ignore))
    await asyncio.sleep(0.05)
    leaving.cancel()
    await staying
    assert builder.has(lock.digest)


async def test_when_everyone_leaves_the_build_ends_and_leaves_nothing(make: Make, place: Path) -> None:
    make_wheel(place / "wheels", "one")
    builder = await make()
    lock = await builder.resolve(Wanted(("one",)), say=ignore)
    leaving = asyncio.create_task(builder.build(lock, ignore))
    await asyncio.wait([leaving], timeout=0.1)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert not builder.has(lock.digest)
    assert list((place / "layers" / ".builds").iterdir()) == []
    await builder.build(lock, ignore)
    assert builder.has(lock.digest)


async def test_versions_of_the_lock_before_are_kept_where_they_fit(make: Make, place: Path) -> None:
    for version in ("1.0", "2.0"):
        make_wheel(place / "wheels", "one", version)
        make_wheel(place / "wheels", "two", version)
    builder = await make()
    before = Lock.of([pin("one", "1.0", ["a" * 64]), pin("two", "1.0", ["a" * 64])], builder.python, builder.platform)
    kept = await builder.resolve(Wanted(("one", "two>=2")), before=before, say=ignore)
    assert dict(kept.versions) == {"one": "1.0", "two": "2.0"}
    assert "a" * 64 not in kept.text
    newest = await builder.resolve(Wanted(("one", "two>=2")), say=ignore)
    assert dict(newest.versions) == {"one": "2.0", "two": "2.0"}


async def test_a_lock_of_the_repository_is_taken_as_it_is_less_what_is_for_elsewhere(make: Make, place: Path) -> None:
    wheel = make_wheel(place / "wheels", "one")
    builder = await make()
    here = f"one==1.0 --hash=sha256:{digest_of(wheel)}"
    elsewhere = f"far==1.0 ; sys_platform == 'win32' --hash=sha256:{'a' * 64}"
    lock = await builder.resolve(Wanted(("one",), f"{here}\n{elsewhere}\n"), say=ignore)
    assert dict(lock.versions) == {"one": "1.0"}
    await builder.build(lock, ignore)
    both = f"{here}\none==2.0 ; os_name == 'posix' --hash=sha256:{'a' * 64}".replace("1.0", "1.0 ; os_name != 'nt'", 1)
    with pytest.raises(BuildFailed, match="one twice here"):
        await builder.resolve(Wanted((), both), say=ignore)


async def test_nothing_required_is_an_empty_layer(make: Make, place: Path) -> None:
    lock = await installed(await make())
    assert lock.text == ""
    assert list((place / "layers" / lock.digest).iterdir()) == []


async def test_what_cannot_be_resolved_is_told_in_the_resolvers_words(make: Make, place: Path) -> None:
    make_wheel(place / "wheels", "first", requires=["base<2"])
    make_wheel(place / "wheels", "second", requires=["base>=2"])
    for version in ("1.0", "2.0"):
        make_wheel(place / "wheels", "base", version)
    make_wheel(place / "wheels", "windows-only", tag="cp311-cp311-win_amd64")
    make_source(place / "wheels", "sourceonly")
    builder = await make()
    assert "missing-one was not found" in await refusal(builder, "missing-one")
    conflict = await refusal(builder, "first", "second")
    assert "base<2" in conflict
    assert "base>=2" in conflict
    assert "win_amd64" in await refusal(builder, "windows-only")
    assert "sourceonly" in (text := await refusal(builder, "sourceonly"))
    assert "no usable wheels" in text or "wheel" in text
    assert builder.sizes() == {}


async def test_a_file_with_another_hash_than_the_locks_is_not_installed(make: Make, place: Path) -> None:
    wheel = make_wheel(place / "wheels", "one")
    builder = await make()
    lock = lock_of(builder, wheel)
    make_wheel(place / "wheels", "one", files={"one.py": "evil = True\n"})
    with pytest.raises(BuildFailed) as caught:
        await builder.build(lock, ignore)
    assert "Hash mismatch" in caught.value.text
    assert digest_of(wheel) in caught.value.text
    assert not builder.has(lock.digest)


async def test_a_lock_for_another_python_is_not_built(make: Make) -> None:
    builder = await make()
    with pytest.raises(BuildFailed, match=r"for Python 3\.2"):
        await builder.build(Lock.of([], "3.2", builder.platform), ignore)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (BuildLimits(layer_files=400), "more than 400 files"),
        (BuildLimits(layer_bytes=4 * MEBIBYTE), "more than 4 MB when they are installed"),
    ],
)
async def test_more_than_the_limits_is_refused(make: Make, place: Path, limits: BuildLimits, words: str) -> None:
    many = {f"large/f{number}": b"" for number in range(500)}
    wheel = make_wheel(place / "wheels", "large", files={"large/zeros": bytes(8 * MEBIBYTE), **many})
    builder = await make(limits=limits)
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
    make: Make, place: Path, monkeypatch: pytest.MonkeyPatch, limits: BuildLimits, words: str
) -> None:
    marker = f"12345.{secrets.randbelow(10**9)}"
    instead_of_uv(place, monkeypatch, f"trap '' TERM; sleep {marker} & sleep {marker}")
    builder = await make(limits=limits)
    assert words in await refusal(builder, "one")
    assert processes_with(marker) == []


async def test_a_wheel_that_inflates_without_end_is_stopped_on_the_way(make: Make, place: Path) -> None:
    bomb = {f"large/f{number}": bytes(64 * MEBIBYTE) for number in range(10)}
    wheel = make_wheel(place / "wheels", "large", files=bomb)
    assert wheel.stat().st_size < 4 * MEBIBYTE
    builder = await make(limits=BuildLimits(layer_bytes=80 * MEBIBYTE))
    with pytest.raises(BuildFailed, match="more than 80 MB"):
        await builder.build(lock_of(builder, wheel), ignore)


async def test_memory_is_limited(make: Make, place: Path) -> None:
    # What compiles to much: nothing of it ever runs.
    source = "x = [" + "[1.5, 2.5, {'a': 'b'}], " * 400_000 + "]\n"
    wheel = make_wheel(place / "wheels", "large", files={"large.py": source})
    builder = await make(limits=BuildLimits(memory_bytes=96 * MEBIBYTE))
    with pytest.raises(BuildFailed, match="more than 96 MB of memory"):
        await builder.build(lock_of(builder, wheel), ignore)


@pytest.mark.parametrize("inside", ["../evil.py", "../../../../../../evil.py", "/evil.py", "one/../../evil.py"])
async def test_a_wheel_cannot_leave_its_layer(make: Make, place: Path, inside: str) -> None:
    wheel = make_wheel(place / "wheels", "one", files={"one.py": "", inside: "evil = True\n"})
    builder = await make()
    lock = lock_of(builder, wheel)
    try:
        await builder.build(lock, ignore)
    except BuildFailed:
        assert not builder.has(lock.digest)
    found = {path for path in place.rglob("evil.py") if not path.is_relative_to(place / "layers" / lock.digest)}
    assert found == set()
    assert not Path("/evil.py").exists()


async def test_links_and_start_up_files_of_a_wheel_do_nothing(make: Make, place: Path) -> None:
    wheel = make_wheel(
        place / "wheels",
        "one",
        files={"one.py": "", "evil.pth": "import os; os.system('touch /build/site/ran /packages/ran')\n"},
        links={"shadow": "/etc/shadow"},
    )
    builder = await make()
    lock = lock_of(builder, wheel)
    try:
        await builder.build(lock, ignore)
    except BuildFailed:
        return
    layer = place / "layers" / lock.digest
    assert not any(path.is_symlink() for path in layer.rglob("*"))
    assert not (layer / "ran").exists()


async def test_a_build_sees_nothing_of_the_server(make: Make, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOWDY_SECRET_KEY", "c2VjcmV0")
    instead_of_uv(
        place,
        monkeypatch,
        "{ echo error: spied; env; echo uid $(cat /proc/self/uid_map); ls -d /home /root /var /run;\n"
        "  echo links $(tail -n +3 /proc/net/dev | cut -d: -f1); ls -ld /etc/shadow;\n"
        f"  echo inside $(ls {place}) end;\n"
        "  for each in /usr /etc /uv / /packages; do echo x >$each/x && echo wrote $each; done;\n"
        "  echo processes $(ls -d /proc/[0-9]* | wc -l);\n"
        "  grep -E 'Cap(Eff|Prm|Bnd)|Seccomp:|NoNew' /proc/self/status; } 2>&1\n"
        "exit 1\n",
    )  # fmt: skip
    builder = await make()
    with pytest.raises(BuildFailed, match="spied") as caught:
        await installed(builder, "one")
    text = caught.value.text
    assert "SECRET" not in text
    assert "wrote" not in text
    assert "links lo" in text
    assert "/etc/shadow" in text and "cannot access '/etc/shadow'" in text
    for folder in ("/home", "/root", "/var", "/run"):
        assert f"cannot access '{folder}'" in text
    # The folder with the wheels has to be seen, and nothing beside it.
    assert "inside wheels end" in text
    assert "CapEff: 0000000000000000" in text
    assert "CapBnd: 0000000000000000" in text
    assert "Seccomp: 2" in text
    assert "NoNewPrivs: 1" in text
    if os.geteuid() == 0:
        assert "uid 1000 0 1" not in text


BELOW_A_CLOSED_FOLDER = """
import asyncio, pathlib, sys
from clowdy.runtimes.sandbox.view import enter_private_mounts
assert enter_private_mounts()
from clowdy.runtimes.layers import tools
from clowdy.runtimes.layers.builder import LayerBuilder
from clowdy.runtimes.layers.index import Index
from clowdy.schema.locks import Wanted
tools.readable_by_all = lambda path: False
async def main(closed, run, wheels):
    builder = LayerBuilder(closed / "layers", run, Index(no_index=True, find_links=(wheels,)))
    await builder.open()
    lock = await builder.resolve(Wanted(("one",)), say=print)
    await builder.build(lock, print)
    await builder.close()
    print(*sorted(path.name for path in (closed / "layers" / lock.digest).glob("*.py")))
asyncio.run(main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has mounts of its own")
def test_data_and_uv_may_lie_where_the_users_of_builds_cannot_pass(place: Path) -> None:
    make_wheel(place / "wheels", "one")
    closed, run = place / "closed", place / "run"
    closed.mkdir(mode=0o700)
    command = [sys.executable, "-c", BELOW_A_CLOSED_FOLDER, str(closed), str(run), str(place / "wheels")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "one.py"
    assert not run.exists() or list(run.iterdir()) == []


async def test_without_bubblewrap_only_development_goes_on_and_says_so(
    make: Make, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(place / "wheels", "one")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    builder = await make()
    with pytest.raises(DriverUnavailable, match="Cure: apt-get install bubblewrap"):
        await builder.resolve(Wanted(("one",)), say=ignore)
    development = await make(apart=Apart.PARTLY)
    lock = await development.resolve(Wanted(("one",)), say=ignore)
    said: list[str] = []
    await development.build(lock, said.append)
    assert said[0] == "packages are installed without isolation: bubblewrap does not work here"
    assert (place / "layers" / lock.digest / "one.py").exists()
    assert str(place) not in await refusal(development, "two")


async def test_a_certificate_that_is_not_there_is_named(make: Make, place: Path) -> None:
    index = Index(no_index=True, find_links=(str(place / "wheels"),), certificates="/not/there.pem")
    with pytest.raises(DriverUnavailable, match=r"/not/there\.pem"):
        await (await make(index)).resolve(Wanted(("one",)), say=ignore)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has users for builds")
async def test_a_folder_of_packages_that_builds_cannot_read_is_named(make: Make, place: Path) -> None:
    (place / "wheels").chmod(0o700)
    with pytest.raises(DriverUnavailable, match=r"/wheels, where packages are to be found, .* Cure: chmod o\+rx"):
        await (await make()).resolve(Wanted(("one",)), say=ignore)


async def test_what_a_killed_server_left_is_gone_after_the_next_start(make: Make, place: Path) -> None:
    left = place / "layers" / ".builds" / "abc" / "site"
    left.mkdir(parents=True)
    deep = left
    for _ in range(1200):
        deep /= "d"
        if len(str(deep)) > 3000:
            break
        deep.mkdir()
    half = place / "layers" / ("a" * 63)
    half.mkdir()
    builder = await make()
    assert list((place / "layers" / ".builds").iterdir()) == []
    assert builder.sizes() == {}


async def test_a_layer_that_is_removed_is_built_again(make: Make, place: Path) -> None:
    make_wheel(place / "wheels", "one")
    builder = await make()
    lock = await installed(builder, "one")
    await builder.remove([lock.digest, "f" * 64, "../wheels"])
    assert not builder.has(lock.digest)
    assert not (place / "layers" / lock.digest).exists()
    assert (place / "wheels").exists()
    assert builder.sizes() == {}
    await builder.build(lock, ignore)
    assert builder.has(lock.digest)


async def test_an_index_on_this_machines_loopback_is_out_of_reach(make: Make) -> None:
    builder = await make(Index(default="http://user:hunter22@127.0.0.1:9/simple"))
    with pytest.raises(DriverUnavailable) as caught:
        await builder.resolve(Wanted(("one",)), say=ignore)
    assert "127.0.0.1" in str(caught.value)
    assert "hunter22" not in str(caught.value)


async def test_where_no_network_can_be_had_it_says_why_and_what_helps(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(premises, "find_outside", lambda python: SimpleNamespace(resolver_file=""))
    script = "echo pasta ended with exit status 1; exit 125"
    monkeypatch.setattr(premises, "outside_command", lambda outside, policy, argv: ("/bin/sh", "-c", script))
    builder = await make(Index(default="https://packages.invalid/simple"))
    with pytest.raises(DriverUnavailable, match=r"do not start: pasta ended with exit status 1\. Cure: clowdy doctor"):
        await builder.resolve(Wanted(("one",)), say=ignore)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [("10.1.2.3", ("10.1.2.3",)), ("8.8.8.8", ()), ("169.254.169.254", ()), ("fd00::1", ("fd00::1",))],
)
async def test_only_what_the_settings_name_is_reached_among_private_addresses(
    make: Make, monkeypatch: pytest.MonkeyPatch, address: str, allowed: tuple[str, ...]
) -> None:
    policies: list[Policy] = []
    monkeypatch.setattr(premises, "find_outside", lambda python: SimpleNamespace(resolver_file=""))

    def wrap(outside: object, policy: Policy, argv: Sequence[str]) -> Sequence[str]:
        policies.append(policy)
        return ("/bin/sh", "-c", "exit 125")

    monkeypatch.setattr(premises, "outside_command", wrap)
    shown = f"[{address}]" if ":" in address else address
    builder = await make(Index(default=f"https://{shown}/simple"))
    with pytest.raises(DriverUnavailable):
        await builder.resolve(Wanted(("one",)), say=ignore)
    assert policies == [Policy(allow_private=False, allowed=allowed)]


async def test_packages_of_the_registry_are_installed_over_a_network_of_their_own(make: Make, place: Path) -> None:
    builder = await make(find_index(os.environ))
    try:
        lock = await builder.resolve(Wanted(("idna",)), say=ignore)
    except (DriverUnavailable, BuildFailed) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"THE PACKAGE INDEX CANNOT BE REACHED: {error}")
    await builder.build(lock, ignore)
    assert list(lock.versions) == ["idna"]
    assert (place / "layers" / lock.digest / "idna" / "__init__.py").exists()
