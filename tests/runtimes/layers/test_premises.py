"""What keeps builds on this machine apart from it, and what is missing for that."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.layers import premises
from clowdy.runtimes.layers.api import BuildFailed
from clowdy.runtimes.layers.builder import Apart
from clowdy.runtimes.layers.index import Index
from clowdy.runtimes.sandbox.network import Policy
from clowdy.schema.locks import Wanted
from tests.runtimes.layers.conftest import Make
from tests.runtimes.layers.wheels import make_wheel
from tests.runtimes.layers.workplaces import LayerWorkplace, ignore, installed, refusal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
]


async def test_a_build_sees_nothing_of_the_server(make: Make, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOWDY_SECRET_KEY", "c2VjcmV0")
    LayerWorkplace(place, 0).replace_uv(
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
