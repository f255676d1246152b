"""The server does not serve unless a push calls both hooks."""

from __future__ import annotations

from pathlib import Path

import pytest

from clowdy.server.errors import StartError
from clowdy.server.git.hook_files import write_hooks
from clowdy.server.git.selftest import self_test
from clowdy.server.git.settings import find_binaries, git_version

from .remote import Client, Remote


async def test_a_server_in_order_passes_and_leaves_nothing(remote: Remote, tmp_path: Path) -> None:
    await self_test(remote.wire, tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []
    assert remote.judged == []


@pytest.mark.slow
@pytest.mark.parametrize("hook", ["pre-receive", "proc-receive"])
@pytest.mark.parametrize("damage", ["missing", "not executable", "no interpreter", "silent"])
async def test_a_hook_that_is_not_called_stops_the_start(
    remote: Remote, tmp_path: Path, hook: str, damage: str
) -> None:
    path = remote.settings.hooks / hook
    if damage == "missing":
        path.unlink()
    elif damage == "not executable":
        path.chmod(0o644)
    elif damage == "no interpreter":
        path.write_text("#!/nonexistent -IS\n")
    else:
        path.write_text("#!/bin/sh\ncat >/dev/null\n")
    with pytest.raises(StartError, match="hooks do not work here"):
        await self_test(remote.wire, tmp_path / "scratch", seconds=2)


def test_hooks_are_written_anew_at_each_start(tmp_path: Path) -> None:
    folder = tmp_path / "hooks"
    folder.mkdir()
    (folder / "post-receive").write_text("#!/bin/sh\n")
    (folder / "pre-receive").write_text("#!/bin/sh\nexit 0\n")
    write_hooks(folder)
    assert sorted(entry.name for entry in folder.iterdir()) == ["pre-receive", "proc-receive"]
    assert (folder / "pre-receive").read_text().startswith("#!/bin/sh\n")
    assert (folder / "pre-receive").stat().st_mode & 0o777 == 0o755


async def test_git_is_found_and_new_enough(tmp_path: Path) -> None:
    git, setpriv = find_binaries()
    assert Path(git).is_absolute()
    assert Path(setpriv).is_absolute()
    fake = tmp_path / "git"
    fake.write_text("#!/bin/sh\necho git version 2.47.1.windows.2\n")
    fake.chmod(0o755)
    assert git_version(str(fake)) == (2, 47, 1)
    fake.write_text("#!/bin/sh\necho what\n")
    with pytest.raises(StartError):
        git_version(str(fake))
    with pytest.raises(StartError):
        git_version(str(tmp_path / "nothing"))


async def test_a_real_push_still_goes_through_the_hooks_afterwards(remote: Remote, tmp_path: Path) -> None:
    await self_test(remote.wire, tmp_path / "scratch")
    client = await Client.make(tmp_path / "client")
    await client.commit()
    await client.push(remote.url())
    assert len(remote.judged) == len(remote.asked) == 1
