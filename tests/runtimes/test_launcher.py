from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.launcher import Command, Launcher
from tests.contracts.world import processes_with


@pytest.fixture
async def launcher() -> AsyncIterator[Launcher]:
    launcher = Launcher("/usr/bin/python3")
    await launcher.open()
    yield launcher
    await launcher.close()


class Output:
    """Descriptors for a command, and what it wrote."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.other, self.given = os.pipe()

    def command(self, script: str, **options: object) -> Command:
        return Command(("/bin/sh", "-c", script), (self.given,), self.writing, **options)  # type: ignore[arg-type]

    def read(self) -> str:
        os.close(self.writing)
        with open(self.reading) as file:
            text = file.read()
        os.close(self.other)
        os.close(self.given)
        return text


async def test_a_program_gets_its_descriptors_and_nothing_of_the_server(launcher: Launcher) -> None:
    output = Output()
    process = launcher.start("one", output.command("echo /proc/self/fd/*; env; echo given >&3", env={"A": "1"}))
    assert await process.wait(10) == 0
    text = output.read()
    # 4 is the shell's own while it lists them.
    assert text.split("\n")[0].split() == [f"/proc/self/fd/{number}" for number in range(5)]
    assert {line.split("=")[0] for line in text.split("\n")[1:] if line} <= {"A", "PWD", "SHLVL", "_", "OLDPWD"}


async def test_limits_hold_and_never_rise(launcher: Launcher) -> None:
    output = Output()
    command = output.command("ulimit -n; ulimit -c", limits=((resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_CORE, 0)))
    await launcher.start("one", command).wait(10)
    assert output.read() == "64\n0\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")
async def test_the_user_is_changed_wholly(launcher: Launcher) -> None:
    output = Output()
    command = output.command("grep -E '^(Uid|Gid|Groups)' /proc/self/status", uid=45678)
    await launcher.start("one", command).wait(10)
    lines = [line.split() for line in output.read().splitlines()]
    assert lines == [["Uid:", *["45678"] * 4], ["Gid:", *["45678"] * 4], ["Groups:"]]


async def test_a_process_joins_its_groups_before_it_runs(launcher: Launcher, tmp_path: Path) -> None:
    output = Output()
    joined = tmp_path / "cgroup.procs"
    await launcher.start("one", output.command("true", join=(str(joined),))).wait(10)
    assert joined.read_text() == "0"
    output.read()


async def test_what_cannot_be_prepared_never_runs_and_says_why(launcher: Launcher, tmp_path: Path) -> None:
    output = Output()
    process = launcher.start("one", output.command("echo ran", join=(str(tmp_path / "no" / "cgroup.procs"),)))
    assert await process.wait(10) == 127
    assert "No such file or directory" in output.read()


async def test_an_exit_is_told_with_its_status(launcher: Launcher) -> None:
    output = Output()
    assert await launcher.start("one", output.command("exit 3")).wait(10) == 3
    assert await launcher.start("two", output.command("kill -9 $$")).wait(10) == -signal.SIGKILL
    output.read()


async def test_a_held_process_runs_when_its_gate_opens(launcher: Launcher) -> None:
    output = Output()
    gate, opener = os.pipe()
    process = launcher.start("one", output.command("echo ran; echo /proc/self/fd/*", gate=gate))
    os.close(gate)
    assert await process.wait(0.1) is None
    os.write(opener, b".")
    assert await process.wait(10) == 0
    os.close(opener)
    lines = output.read().split("\n")
    assert lines[0] == "ran"
    assert lines[1].split() == [f"/proc/self/fd/{number}" for number in range(5)]


async def test_a_held_process_ends_when_its_gate_is_given_up(launcher: Launcher) -> None:
    output = Output()
    gate, opener = os.pipe()
    process = launcher.start("one", output.command("echo ran", gate=gate))
    os.close(gate)
    await process.started
    os.close(opener)
    assert await process.wait(10) == 0
    assert output.read() == ""


async def test_killing_reaches_what_a_process_started(launcher: Launcher) -> None:
    output = Output()
    marker = f"97{os.getpid()}"
    process = launcher.start("one", output.command(f"sleep {marker} & sleep {marker} & wait"))
    async with asyncio.timeout(10):
        while len(processes_with(marker)) < 3:
            await asyncio.sleep(0.01)
        process.kill(root=True)
        assert await process.wait(10) is not None
        while processes_with(marker):
            await asyncio.sleep(0.01)
    output.read()


async def test_what_forks_faster_than_it_can_be_walked_through_is_killed(launcher: Launcher) -> None:
    output = Output()
    marker = f"95{os.getpid()}"
    # Each has one child and goes on sleeping; it ends by itself after 3,000 of them.
    chain = f"import os, time\nfor _ in range(3000):\n    if os.fork(): time.sleep(20); os._exit({marker} % 1)"
    process = launcher.start("one", output.command(f'exec /usr/bin/python3 -c "{chain}"'))
    async with asyncio.timeout(10):
        while len(processes_with(marker)) < 5:
            await asyncio.sleep(0.01)
        process.kill(root=True)
        assert await process.wait(10) is not None
        while processes_with(marker):
            await asyncio.sleep(0.01)
    output.read()


async def test_when_the_resident_process_dies_all_that_it_started_does(launcher: Launcher) -> None:
    output = Output()
    marker = f"96{os.getpid()}"
    process = launcher.start("one", output.command(f"exec sleep {marker}"))
    await process.started
    async with asyncio.timeout(10):
        while not processes_with(marker):
            await asyncio.sleep(0.01)
        assert launcher._child is not None
        launcher._child.kill()
        assert await process.wait(10) is not None
        while processes_with(marker):
            await asyncio.sleep(0.01)
    assert not launcher.alive
    late = launcher.start("two", output.command("true"))
    with pytest.raises(DriverUnavailable):
        await late.started
    output.read()


async def test_many_starts_at_once_all_arrive(launcher: Launcher) -> None:
    output = Output()
    processes = [launcher.start(str(number), output.command("echo x" + " " * 20000)) for number in range(150)]
    async with asyncio.timeout(60):
        assert {await process.wait(60) for process in processes} == {0}
    assert output.read() == "x\n" * 150
