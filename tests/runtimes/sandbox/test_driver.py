from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from clowdy.runtimes.api import DriverUnavailable, Kind, Promise
from clowdy.runtimes.sandbox import SandboxDriver, driver, outlet
from clowdy.runtimes.sandbox.network import find_outside
from clowdy.schema.manifest import Network
from tests.contracts.world import application


async def test_without_bubblewrap_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver.shutil, "which", lambda _: None)
    with pytest.raises(DriverUnavailable, match=r"apt-get install bubblewrap.*--runtime process"):
        await SandboxDriver(tmp_path, tmp_path).open()


async def test_after_a_failure_it_can_be_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        programs = folder / "bin"
        programs.mkdir(mode=0o755)
        bwrap = programs / "bwrap"
        bwrap.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
        bwrap.chmod(0o755)
        sandbox = SandboxDriver(folder, folder / "run")
        with monkeypatch.context() as patched:
            patched.setenv("PATH", str(programs), prepend=":")
            with pytest.raises(DriverUnavailable, match="forbids user namespaces"):
                await sandbox.open()
        await sandbox.close()
        try:
            await sandbox.open()
        except DriverUnavailable as error:
            pytest.skip(str(error))
        try:
            await (await sandbox.start(Kind(None, Network.OFF))).kill()
        finally:
            await sandbox.close()


async def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DriverUnavailable, match="/nowhere/python is not there"):
        await SandboxDriver(tmp_path, tmp_path, "/nowhere/python").open()


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ("bwrap: No permissions to create new namespace, likely because", "forbids user namespaces"),
        ("bwrap: setting up uid map: Permission denied", "forbids user namespaces"),
        ("bwrap: Unknown option --disable-userns", "bubblewrap 0.8 or later"),
        ("", "apt-get install --reinstall bubblewrap"),
    ],
)
def test_what_bubblewrap_says_is_shown_with_its_cure(
    said: str, cure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "_RESTRICTED", tmp_path / "nothing")
    text = driver._explain(said)
    assert cure in text
    assert "--runtime process" in text
    assert said in text


def test_the_apparmor_of_ubuntu_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restricted = tmp_path / "apparmor"
    restricted.write_text("1\n")
    monkeypatch.setattr(driver, "_RESTRICTED", restricted)
    assert "AppArmor" in driver._explain("bwrap: setting up uid map: Permission denied")


def test_missing_limits_are_said_in_one_line_with_the_cure(tmp_path: Path) -> None:
    notice = SandboxDriver(tmp_path, tmp_path, use_groups=False).notice
    assert notice is not None
    assert "\n" not in notice
    assert "systemd-run --user --scope -p Delegate=yes make run" in notice
    assert "watched every 100 ms" in notice


def test_without_groups_memory_is_watched_and_not_limited(tmp_path: Path) -> None:
    promises = SandboxDriver(tmp_path, tmp_path, use_groups=False).promises
    assert Promise.MEMORY_WATCHED in promises
    assert Promise.PROCESSES in promises
    assert not promises & {Promise.MEMORY, Promise.CPU}


def test_without_groups_no_instances_share_a_sandbox(tmp_path: Path) -> None:
    assert not SandboxDriver(tmp_path, tmp_path, use_groups=False).can_prepare(application(""))


@pytest.mark.parametrize("programs", [{"nft": "/bin/false"}, {"pasta": "/bin/false"}])
async def test_where_pasta_or_the_rules_fail_there_is_no_network_and_all_else_goes_on(
    programs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        found = replace(find_outside(), **programs)
    except DriverUnavailable as error:
        pytest.skip(str(error))
    monkeypatch.setattr(outlet, "find_outside", lambda _: found)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        sandbox = SandboxDriver(folder, folder / "run")
        try:
            await sandbox.open()
        except DriverUnavailable as error:
            pytest.skip(str(error))
        try:
            assert sandbox.no_network is not None
            assert "/bin/false ended with exit status 1" in sandbox.no_network
            assert "Cure: " in sandbox.no_network
            assert Promise.CLOSED_NETWORK not in sandbox.promises
            with pytest.raises(DriverUnavailable, match="network: true cannot be had here"):
                await sandbox.start(Kind(None, Network.ON))
            await (await sandbox.start(Kind(None, Network.OFF))).kill()
        finally:
            await sandbox.close()


def test_what_fails_of_a_network_is_said_with_its_cure() -> None:
    said = driver._explain_network("netlink: Error: Operation not supported\n/usr/sbin/nft ended with exit status 1\n")
    assert "Operation not supported; /usr/sbin/nft ended" in said
    assert "modprobe nf_tables" in said
    assert "passt" in driver._explain_network(
        "Failed to send 5 bytes to syslog\n/usr/bin/pasta ended with exit status 1\n"
    )
