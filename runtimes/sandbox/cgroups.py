"""Limits by control groups: versions 1 and 2 behind one interface, and which of them can be written here.

A server has one folder in the hierarchy, named after its data directory, and in it one for each instance.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from clowdy.runtimes.api import Promise
from clowdy.runtimes.sandbox.inotify import Inotify

_PERIOD_MICROSECONDS = 100_000
_CONTROLLERS: Mapping[str, Promise] = {
    "memory": Promise.MEMORY,
    "pids": Promise.PROCESSES,
    "cpu": Promise.CPU,
}


class Group(Protocol):
    """The limits of one instance."""

    @property
    def join(self) -> Sequence[str]:
        """The files that take a process of one thread in which writes `0` to them."""
        ...

    def limit(self, memory_bytes: int, cpu: float) -> None:
        """Sets what the version may use; blocks for microseconds."""
        ...

    def oom_kills(self) -> int:
        """How many of its processes were killed because memory ran out."""
        ...

    def throttled(self) -> int:
        """How many times its cpu limit held it back."""
        ...

    def watch(self, on_short: Callable[[], None]) -> None:
        """Begins to call `on_short` on the event loop when memory runs out, maybe before `oom_kills` rises."""
        ...

    def count(self) -> int:
        """How many processes are in it, for every limit that it has."""
        ...

    def kill(self) -> int:
        """Kills every process; how many were still there."""
        ...

    def forget(self) -> None:
        """Watches no more."""
        ...

    def remove(self) -> bool:
        """Removes it; False while the kernel still holds it."""
        ...


class Groups(Protocol):
    """Makes groups."""

    @property
    def promises(self) -> frozenset[Promise]:
        """Which limits hold."""
        ...

    def make(self, name: str, processes: int) -> Group:
        """A group for one instance."""
        ...

    def clear(self) -> None:
        """Kills and removes what an earlier server of this data directory left; blocks."""
        ...

    def close(self) -> None:
        """Removes the server's folder, once every group is removed."""
        ...


class FirstVersion:
    """Version 1: each controller has a hierarchy of its own."""

    def __init__(self, bases: Mapping[str, Path]) -> None:
        self._bases = bases

    @property
    def promises(self) -> frozenset[Promise]:
        return frozenset(_CONTROLLERS[name] for name in self._bases)

    def make(self, name: str, processes: int) -> Group:
        folders = {controller: base / name for controller, base in self._bases.items()}
        for folder in folders.values():
            folder.mkdir(exist_ok=True)
        if "pids" in folders:
            _write(folders["pids"] / "pids.max", processes)
        return _FirstVersionGroup(folders)

    def clear(self) -> None:
        _clear(list(self._bases.values()))

    def close(self) -> None:
        for base in self._bases.values():
            _remove(base)


class _FirstVersionGroup:
    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders
        self._event = -1
        self._stop: Callable[[], object] | None = None

    @property
    def join(self) -> Sequence[str]:
        # Unlike `cgroup.procs`, which waits for a lock of the whole system, often for 10 ms: this moves the one thread
        # that writes, and whoever enters has no other yet.
        return [str(folder / "tasks") for folder in dict.fromkeys(self._folders.values())]

    def limit(self, memory_bytes: int, cpu: float) -> None:
        if folder := self._folders.get("memory"):
            memory, swap = folder / "memory.limit_in_bytes", folder / "memory.memsw.limit_in_bytes"
            # The first may never be above the second: which goes first depends on whether they rise.
            rises = not _try_write(memory, memory_bytes)
            if swap.exists():
                _write(swap, memory_bytes)
            if rises:
                _write(memory, memory_bytes)
        if folder := self._folders.get("cpu"):
            quota = max(1000, int(cpu * _PERIOD_MICROSECONDS))
            _write(folder / "cpu.cfs_period_us", _PERIOD_MICROSECONDS)
            _write(folder / "cpu.cfs_quota_us", quota)
            if (burst := folder / "cpu.cfs_burst_us").exists():
                _write(burst, quota)

    def oom_kills(self) -> int:
        return _counter(self._folders.get("memory"), "memory.oom_control", "oom_kill")

    def throttled(self) -> int:
        return _counter(self._folders.get("cpu"), "cpu.stat", "nr_throttled")

    def watch(self, on_short: Callable[[], None]) -> None:
        folder = self._folders.get("memory")
        if folder is None:
            return
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        control = os.open(folder / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _write(folder / "cgroup.event_control", f"{self._event} {control}")
        except OSError:
            # A kernel without it: the count is read when an instance ends.
            return
        finally:
            os.close(control)
        loop = asyncio.get_running_loop()

        def ran_out() -> None:
            try:
                os.eventfd_read(self._event)
            except BlockingIOError:
                return
            on_short()

        loop.add_reader(self._event, ran_out)
        self._stop = lambda: loop.remove_reader(self._event)

    def count(self) -> int:
        return min(len(_processes(folder)) for folder in self._folders.values())

    def kill(self) -> int:
        if folder := self._folders.get("pids"):
            # Nothing new is born while the rest dies.
            _try_write(folder / "pids.max", 0)
        return _kill(self._folders.values())

    def forget(self) -> None:
        if self._stop is not None:
            self._stop()
            self._stop = None
        if self._event >= 0:
            os.close(self._event)
            self._event = -1

    def remove(self) -> bool:
        self.forget()
        # Every one of them, also when the first is still held.
        removed = [_remove(folder) for folder in self._folders.values()]
        return all(removed)


class SecondVersion:
    """Version 2: one hierarchy for all controllers."""

    def __init__(self, base: Path, controllers: Sequence[str]) -> None:
        self._base = base
        self._controllers = controllers
        self._inotify = Inotify()

    @property
    def promises(self) -> frozenset[Promise]:
        return frozenset(_CONTROLLERS[name] for name in self._controllers)

    def make(self, name: str, processes: int) -> Group:
        folder = self._base / name
        folder.mkdir(exist_ok=True)
        if "pids" in self._controllers:
            _write(folder / "pids.max", processes)
        if "memory" in self._controllers:
            # Whatever runs out of memory takes all of its group with it.
            _try_write(folder / "memory.oom.group", 1)
        return _SecondVersionGroup(folder, self._controllers, self._inotify)

    def clear(self) -> None:
        _clear([self._base])

    def close(self) -> None:
        self._inotify.close()
        _remove(self._base)


class _SecondVersionGroup:
    def __init__(self, folder: Path, controllers: Sequence[str], inotify: Inotify) -> None:
        self._folder = folder
        self._controllers = controllers
        self._inotify = inotify
        self._watched: int | None = None

    @property
    def join(self) -> Sequence[str]:
        return [str(self._folder / "cgroup.procs")]

    def limit(self, memory_bytes: int, cpu: float) -> None:
        if "memory" in self._controllers:
            _write(self._folder / "memory.max", memory_bytes)
            _try_write(self._folder / "memory.swap.max", 0)
        if "cpu" in self._controllers:
            quota = max(1000, int(cpu * _PERIOD_MICROSECONDS))
            _write(self._folder / "cpu.max", f"{quota} {_PERIOD_MICROSECONDS}")
            _try_write(self._folder / "cpu.max.burst", quota)

    def oom_kills(self) -> int:
        return _counter(self._folder, "memory.events", "oom_kill")

    def throttled(self) -> int:
        return _counter(self._folder, "cpu.stat", "nr_throttled")

    def watch(self, on_short: Callable[[], None]) -> None:
        # Told as soon as the limit is met, which comes before any kill.
        self._watched = self._inotify.add(self._folder / "memory.events", on_short)

    def count(self) -> int:
        return len(_processes(self._folder))

    def kill(self) -> int:
        _try_write(self._folder / "pids.max", 0)
        if _try_write(self._folder / "cgroup.kill", 1):
            return len(_processes(self._folder))
        return _kill([self._folder])

    def forget(self) -> None:
        if self._watched is not None:
            self._inotify.remove(self._watched)
            self._watched = None

    def remove(self) -> bool:
        self.forget()
        return _remove(self._folder)


def find_groups(
    name: str,
    mounts: str | None = None,
    own: str | None = None,
    *,
    privileged: bool | None = None,
) -> Groups | None:
    """The groups that can be written here, below a folder `name`; None when there are none; blocks.

    `mounts` and `own` are the texts of /proc/self/mountinfo and /proc/self/cgroup.
    """
    mounts = Path("/proc/self/mountinfo").read_text() if mounts is None else mounts
    own = Path("/proc/self/cgroup").read_text() if own is None else own
    privileged = os.geteuid() == 0 if privileged is None else privileged
    first, second = _hierarchies(mounts, own)
    bases: dict[str, Path] = {}
    for controller in _CONTROLLERS:
        if controller in first and (base := _folder_in(first[controller], name)) is not None:
            bases[controller] = base
    if bases:
        return FirstVersion(bases)
    if second is not None:
        mount, place = second
        for parent in (mount, place) if privileged else (place,):
            controllers = _delegate(parent)
            if controllers and (base := _folder_in(parent, name)) is not None:
                enabled = _enable(base, controllers)
                if enabled:
                    return SecondVersion(base, enabled)
                _remove(base)
    return None


def group_of(pid: int, inotify: Inotify) -> Group | None:
    """The group in which somebody else holds process `pid`, to be watched; None where it cannot be seen; blocks."""
    try:
        paths = Path(f"/proc/{pid}/cgroup").read_text()
        first, second = _hierarchies(Path("/proc/self/mountinfo").read_text(), paths)
    except (OSError, ValueError):
        return None
    if "memory" in first:
        found = {name: folder for name, folder in first.items() if pid in _processes(folder)}
        return _FirstVersionGroup(found) if found else None
    if second is not None and pid in _processes(second[1]):
        return _SecondVersionGroup(second[1], list(_CONTROLLERS), inotify)
    return None


def _hierarchies(mounts: str, own: str) -> tuple[dict[str, Path], tuple[Path, Path] | None]:
    """For each controller of version 1 this process's folder; of version 2 the mount and this process's folder."""
    paths: dict[str, str] = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    first: dict[str, Path] = {}
    second: tuple[Path, Path] | None = None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split()[:3]
        root, mount = fields[3], Path(fields[4])
        if kind == "cgroup":
            for controller in options.split(","):
                if controller in _CONTROLLERS and controller in paths:
                    first[controller] = _below(mount, root, paths[controller])
        elif kind == "cgroup2" and "" in paths:
            second = (mount, _below(mount, root, paths[""]))
    return first, second


def _below(mount: Path, root: str, path: str) -> Path:
    """Where `path` of a hierarchy stands below its mount, which shows the hierarchy from `root` on."""
    relative = path if root == "/" else path.removeprefix(root)
    place = mount / relative.strip("/")
    return place if place.is_dir() and ".." not in relative else mount


def _folder_in(parent: Path, name: str) -> Path | None:
    folder = parent / name
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder / "cgroup.procs", os.W_OK) else None


def _delegate(parent: Path) -> list[str]:
    """Lets the folders below `parent` have controllers; those that it can have."""
    enabled = _enable(parent, list(_CONTROLLERS))
    if enabled or not os.access(parent / "cgroup.subtree_control", os.W_OK):
        return enabled
    # A group that has processes of its own may not have limits below it: they move aside, this process too.
    aside = parent / "clowdy-server"
    try:
        aside.mkdir(exist_ok=True)
        for process in _processes(parent):
            _try_write(aside / "cgroup.procs", process)
    except OSError:
        return []
    return _enable(parent, list(_CONTROLLERS))


def _enable(folder: Path, controllers: Sequence[str]) -> list[str]:
    control = folder / "cgroup.subtree_control"
    for controller in controllers:
        _try_write(control, f"+{controller}")
    try:
        there = control.read_text().replace("+", " ").split()
    except OSError:
        return []
    return [controller for controller in controllers if controller in there]


def _write(path: Path, value: object) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(str(value).encode())


def _try_write(path: Path, value: object) -> bool:
    try:
        _write(path, value)
    except OSError:
        return False
    return True


def _counter(folder: Path | None, file: str, name: str) -> int:
    if folder is None:
        return 0
    try:
        with open(folder / file) as lines:
            for line in lines:
                key, _, value = line.partition(" ")
                if key == name:
                    return int(value)
    except OSError:
        pass
    return 0


def _processes(folder: Path) -> list[int]:
    try:
        return [int(line) for line in (folder / "cgroup.procs").read_text().split()]
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return []
        raise


def _kill(folders: Iterable[Path]) -> int:
    found: set[int] = set()
    for folder in folders:
        found.update(_processes(folder))
    for process in found:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return len(found)


def _remove(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _clear(bases: Sequence[Path]) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        folders = [folder for base in bases for folder in base.iterdir() if folder.is_dir()]
        if not any([_kill(folders), *(not _remove(folder) for folder in folders)]):
            return
        time.sleep(0.01)
