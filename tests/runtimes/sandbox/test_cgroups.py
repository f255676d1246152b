"""Both versions of control groups against folders of plain files, whichever of them this machine has."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from clowdy.runtimes.api import Promise
from clowdy.runtimes.sandbox import cgroups
from clowdy.runtimes.sandbox.cgroups import FirstVersion, SecondVersion, find_groups
from clowdy.schema.units import MEBIBYTE

ALL = frozenset({Promise.MEMORY, Promise.PROCESSES, Promise.CPU})


@pytest.fixture
def first(tmp_path: Path) -> FirstVersion:
    bases = {name: tmp_path / name / "server" for name in ("memory", "pids", "cpu")}
    for base in bases.values():
        base.mkdir(parents=True)
    return FirstVersion(bases)


@pytest.fixture
def second(tmp_path: Path) -> SecondVersion:
    (tmp_path / "server").mkdir()
    return SecondVersion(tmp_path / "server", ["memory", "pids", "cpu"])


def test_the_first_version_writes_each_limit_into_its_hierarchy(first: FirstVersion, tmp_path: Path) -> None:
    group = first.make("one", 256)
    memory, pids, cpu = (tmp_path / name / "server" / "one" for name in ("memory", "pids", "cpu"))
    (memory / "memory.memsw.limit_in_bytes").touch()
    (cpu / "cpu.cfs_burst_us").touch()
    group.limit(128 * MEBIBYTE, 0.5)
    assert (pids / "pids.max").read_text() == "256"
    assert (memory / "memory.limit_in_bytes").read_text() == str(128 * MEBIBYTE)
    assert (memory / "memory.memsw.limit_in_bytes").read_text() == str(128 * MEBIBYTE)
    assert (cpu / "cpu.cfs_period_us").read_text() == "100000"
    assert (cpu / "cpu.cfs_quota_us").read_text() == "50000"
    assert (cpu / "cpu.cfs_burst_us").read_text() == "50000"
    assert group.join == [str(folder / "tasks") for folder in (memory, pids, cpu)]
    assert first.promises == ALL


def test_controllers_that_share_a_hierarchy_are_joined_once(tmp_path: Path) -> None:
    base = tmp_path / "server"
    base.mkdir()
    group = FirstVersion({"cpu": base, "memory": base}).make("one", 256)
    assert group.join == [str(base / "one" / "tasks")]


def test_the_second_version_writes_all_limits_into_one_folder(second: SecondVersion, tmp_path: Path) -> None:
    group = second.make("one", 256)
    folder = tmp_path / "server" / "one"
    group.limit(64 * MEBIBYTE, 2.0)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "pids.max": "256",
        "memory.oom.group": "1",
        "memory.max": str(64 * MEBIBYTE),
        "memory.swap.max": "0",
        "cpu.max": "200000 100000",
        "cpu.max.burst": "200000",
    }
    assert group.join == [str(folder / "cgroup.procs")]
    assert second.promises == ALL


def test_a_process_counts_once_it_is_in_every_hierarchy(first: FirstVersion, tmp_path: Path) -> None:
    group = first.make("one", 256)
    for name in ("memory", "pids"):
        (tmp_path / name / "server" / "one" / "cgroup.procs").write_text("17\n18\n")
    assert group.count() == 0
    (tmp_path / "cpu" / "server" / "one" / "cgroup.procs").write_text("17\n")
    assert group.count() == 1


def test_the_least_cpu_is_what_the_kernel_takes(second: SecondVersion, tmp_path: Path) -> None:
    second.make("one", 256).limit(64 * MEBIBYTE, 0.001)
    assert (tmp_path / "server" / "one" / "cpu.max").read_text() == "1000 100000"


def test_limits_that_cannot_be_had_are_not_promised(tmp_path: Path) -> None:
    assert FirstVersion({"pids": tmp_path}).promises == {Promise.PROCESSES}
    groups = SecondVersion(tmp_path, ["cpu"])
    groups.make("one", 256).limit(64 * MEBIBYTE, 1.0)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["cpu.max", "cpu.max.burst"]


def test_kills_and_throttling_are_counted(first: FirstVersion, second: SecondVersion, tmp_path: Path) -> None:
    old, new = first.make("one", 256), second.make("one", 256)
    assert (old.oom_kills(), old.throttled(), new.oom_kills(), new.throttled()) == (0, 0, 0, 0)
    (tmp_path / "memory/server/one/memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    (tmp_path / "cpu/server/one/cpu.stat").write_text("nr_periods 9\nnr_throttled 3\nthrottled_time 1\n")
    (tmp_path / "server/one/memory.events").write_text("low 0\nmax 7\noom 1\noom_kill 4\noom_group_kill 1\n")
    (tmp_path / "server/one/cpu.stat").write_text("usage_usec 1\nnr_throttled 5\n")
    assert (old.oom_kills(), old.throttled(), new.oom_kills(), new.throttled()) == (2, 3, 4, 5)


async def test_the_second_version_tells_when_memory_runs_short(second: SecondVersion, tmp_path: Path) -> None:
    group = second.make("one", 256)
    events = tmp_path / "server/one/memory.events"
    events.write_text("oom_kill 0\n")
    short = asyncio.Event()
    group.watch(short.set)
    await asyncio.sleep(0)
    assert not short.is_set()
    events.write_text("oom_kill 1\n")
    await asyncio.wait_for(short.wait(), 5)
    group.remove()
    second.close()


def test_killing_reaches_every_process_and_lets_no_new_one_be_born(first: FirstVersion, tmp_path: Path) -> None:
    group = first.make("one", 256)
    children = [subprocess.Popen(["/bin/sleep", "60"]) for _ in range(2)]
    (tmp_path / "memory/server/one/cgroup.procs").write_text(f"{children[0].pid}\n")
    (tmp_path / "cpu/server/one/cgroup.procs").write_text(f"{children[0].pid}\n{children[1].pid}\n")
    assert group.kill() == 2
    assert [child.wait(5) for child in children] == [-9, -9]
    assert (tmp_path / "pids/server/one/pids.max").read_text() == "0"


def test_the_second_version_kills_at_once_where_the_kernel_can(second: SecondVersion, tmp_path: Path) -> None:
    group = second.make("one", 256)
    folder = tmp_path / "server/one"
    (folder / "cgroup.procs").write_text("")
    assert group.kill() == 0
    assert (folder / "cgroup.kill").read_text() == "1"


def test_a_group_that_is_still_held_is_not_removed_yet(second: SecondVersion, tmp_path: Path) -> None:
    group = second.make("one", 256)
    assert not group.remove()
    for path in (tmp_path / "server/one").iterdir():
        path.unlink()
    assert group.remove()
    assert group.remove()


def test_leftovers_are_killed_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen(["/bin/sleep", "60"])
    folder = tmp_path / "leftover"
    folder.mkdir()
    (folder / "cgroup.procs").write_text(f"{child.pid}\n")

    def remove(folder: Path) -> bool:
        """As the kernel does: the files go with the folder, once no process is left."""
        if child.poll() is None:
            return False
        (folder / "cgroup.procs").unlink(missing_ok=True)
        folder.rmdir()
        return True

    monkeypatch.setattr(cgroups, "_remove", remove)
    SecondVersion(tmp_path, ["memory"]).clear()
    assert child.wait(5) == -9
    assert not folder.exists()


def first_version_machine(top: Path) -> tuple[str, str]:
    """mountinfo and cgroup of a process whose limits are of version 1."""
    lines = []
    for number, controllers in enumerate(("memory", "cpu,cpuacct", "pids")):
        mount = top / controllers
        (mount / "user" / "me").mkdir(parents=True)
        lines.append(f"3{number} 2 0:3{number} / {mount} rw shared:9 - cgroup cgroup rw,{controllers}")
    return "\n".join(lines), "4:memory:/user/me\n3:cpu,cpuacct:/user/me\n2:pids:/user/me\n0::/\n"


def writable(folder: Path) -> None:
    """As a folder of a hierarchy is born with its files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.procs").touch()


def test_the_first_version_is_found_where_this_process_is(tmp_path: Path) -> None:
    mounts, own = first_version_machine(tmp_path)
    for controllers in ("memory", "cpu,cpuacct", "pids"):
        writable(tmp_path / controllers / "user" / "me" / "clowdy-x")
    groups = find_groups("clowdy-x", mounts, own)
    assert isinstance(groups, FirstVersion)
    assert groups.promises == ALL
    assert groups.make("one", 9).join[0] == str(tmp_path / "memory/user/me/clowdy-x/one/tasks")


def test_what_cannot_be_written_is_not_found(tmp_path: Path) -> None:
    mounts, own = first_version_machine(tmp_path)
    assert find_groups("clowdy-x", mounts, own) is None
    assert find_groups("clowdy-x", "", "") is None


def second_version_machine(top: Path) -> tuple[str, str, Path]:
    place = top / "session"
    writable(place)
    (place / "cgroup.subtree_control").touch()
    (top / "cgroup.subtree_control").touch()
    writable(place / "clowdy-x")
    (place / "clowdy-x" / "cgroup.subtree_control").touch()
    writable(place / "clowdy-server")
    return f"30 2 0:30 / {top} rw - cgroup2 cgroup2 rw,nsdelegate", "0::/session\n", place


def test_the_second_version_is_delegated_to_an_ordinary_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel gives no controllers to what lies below a group with processes: they have to move aside first."""
    mounts, own, place = second_version_machine(tmp_path)
    (place / "cgroup.procs").write_text("41\n42\n")
    moved: list[str] = []
    real = cgroups._try_write

    def kernel(path: Path, value: object) -> bool:
        if path == place / "clowdy-server" / "cgroup.procs":
            moved.append(str(value))
            return True
        if path.name == "cgroup.subtree_control":
            if path.parent == place and len(moved) < 2:
                return False
            path.write_text(f"{path.read_text()} {str(value).removeprefix('+')}".strip())
            return True
        return real(path, value)

    monkeypatch.setattr(cgroups, "_try_write", kernel)
    groups = find_groups("clowdy-x", mounts, own, privileged=False)
    assert isinstance(groups, SecondVersion)
    assert moved == ["41", "42"]
    assert groups.promises == ALL
    assert groups.make("one", 9).join == [str(place / "clowdy-x" / "one" / "cgroup.procs")]


def test_the_second_version_is_not_there_without_delegation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts, own, _ = second_version_machine(tmp_path)
    monkeypatch.setattr(cgroups, "_try_write", lambda path, value: False)
    assert find_groups("clowdy-x", mounts, own, privileged=False) is None


def test_a_mount_that_shows_a_part_of_the_hierarchy_is_followed(tmp_path: Path) -> None:
    writable(tmp_path / "inner" / "clowdy-x")
    mounts = f"30 2 0:30 /docker/abc {tmp_path} rw - cgroup cgroup rw,memory"
    groups = find_groups("clowdy-x", mounts, "4:memory:/docker/abc/inner\n")
    assert isinstance(groups, FirstVersion)
    assert groups.make("one", 9).join == [str(tmp_path / "inner/clowdy-x/one/tasks")]
