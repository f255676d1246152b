"""A prepared parent: it has imported a version, serves no call, and forks instances of it when it is asked to."""

from __future__ import annotations

import gc
import os
import select
import sys
import time

from . import frames
from .codec import decode, to_bytes
from .loading import stdlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .channel import Channel
    from .logs import Logs

_HARMLESS = frozenset(("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"))
_TMP = "/tmp"  # noqa: S108  (the sandbox's own)
_CLEAR_SECONDS = 5.0
_THREAD_SECONDS = 0.05
_MOST_DESCRIPTORS = 16
_OBJECTS_AT_ONCE = 10_000
# Python's own, and the same with a newer SQLite in it.
_DATABASES = ("_sqlite3", "pysqlite3._sqlite3")
# What the runner itself imports once it knows the shape.
_RUNNER_PARTS = {
    "ASGI application": "asgi",
    "WSGI application": "wsgi",
    "async handler": "looped",
    "async generator": "looped",
    "generator": "flow",
}
# What libraries import in their first call, by the module that is there from the start.
_LATE_PARTS = {"anyio": "anyio._backends._asyncio"}


def fork_when_asked(channel: Channel, logs: Logs, said: dict[str, Any], log: bytes) -> None:
    """Returns in each child; the parent's own part ends with the server.

    `said` and `log` tell of the import, as an instance would.
    """
    _import_the_rest(said["shape"])
    logs.stop()
    if said["shape"] == "ASGI application":
        from .warm import warm_up

        warm_up()
    reason = why_not(channel, logs)
    if reason:
        refusal = {"reason": "not forkable", "text": reason, "module": None}
        channel.send(log + frames.pack(frames.START_FAILED, 0, to_bytes(refusal)))
        channel.read()
        os._exit(0)
    # What is never collected is never written to, and stays shared with the children.
    gc.collect()
    gc.freeze()
    channel.send(log + frames.pack(frames.READY, 0, to_bytes(said)))
    _Parent(channel, logs).run()


def _import_the_rest(shape: str) -> None:
    """What every child would otherwise import for itself, in its own time and memory."""
    if shape in _RUNNER_PARTS:
        __import__(f"{__package__}.{_RUNNER_PARTS[shape]}")
    for module in [part for name, part in _LATE_PARTS.items() if name in sys.modules]:
        try:
            __import__(module)
        except Exception:  # noqa: BLE001, S110  (a release that has no such part: its children find out by themselves)
            pass


def why_not(channel: Channel, logs: Logs) -> str:
    """What a fork would share or lose, in words; empty when there is nothing. To be asked with `logs` stopped."""
    return (
        _children()
        or _open_files({0, 1, 2, channel.descriptor, *logs.descriptors})
        or _shared_memory()
        or _signals()
        or _generators()
        or _threads()
    )


def _children() -> str:
    for task in os.listdir("/proc/self/task"):  # noqa: PTH208  (pathlib is slow to import)
        with open(f"/proc/self/task/{task}/children") as file:
            if file.read().split():
                return "its import left a process running"
    return ""


def _open_files(own: set[int]) -> str:
    for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208
        if descriptor in own:
            continue
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
        except FileNotFoundError:
            # The one that listed them.
            continue
        if target not in _HARMLESS:
            return f"its import left {target} open"
    return ""


def _shared_memory() -> str:
    with open("/proc/self/maps") as lines:
        for line in lines:
            fields = line.split(None, 5)
            if fields[1][1] == "w" and fields[1][3] == "s":
                return "its import left memory that is shared between processes"
    return ""


def _signals() -> str:
    signals = stdlib("_signal")
    if signals.getsignal(signals.SIGCHLD) != signals.SIG_DFL:
        return "its import handles the end of child processes"
    timers = (signals.ITIMER_REAL, signals.ITIMER_VIRTUAL, signals.ITIMER_PROF)
    if any(signals.getitimer(timer)[0] for timer in timers):
        return "its import set a timer"
    return ""


def _generators() -> str:
    """Random state besides that of the modules themselves: it may have been seeded for a reason, or not."""
    kinds, known = _kinds_of_generators()
    if kinds:
        # What is frozen is not among the objects, and is frozen again before the first fork.
        gc.unfreeze()
        for each in _objects():
            if type(each) in kinds and not any(each is one for one in known):
                return "its import made a random number generator of its own"
    return ""


def _kinds_of_generators() -> tuple[set[type], list[object]]:
    """The classes whose instances hold random state, and the instances that are renewed in a child."""
    kinds: set[type] = set()
    known: list[object] = []
    if (basic := sys.modules.get("_random")) is not None:
        kinds |= _with_subclasses(basic.Random)
    if (standard := sys.modules.get("random")) is not None:
        kinds -= _with_subclasses(standard.SystemRandom)
        known.append(getattr(standard, "_inst", None))
    if (numeric := sys.modules.get("numpy.random")) is not None:
        for kind in (numeric.Generator, numeric.RandomState, numeric.BitGenerator, numeric.SeedSequence):
            kinds |= _with_subclasses(kind)
        shared = getattr(getattr(numeric, "mtrand", None), "_rand", None)
        state = getattr(shared, "_bit_generator", None)
        # No other can be seeded as the module's own is.
        if isinstance(state, numeric.MT19937):
            known += [shared, state, getattr(state, "_seed_seq", None)]
    return kinds, known


def _with_subclasses(kind: type) -> set[type]:
    below: list[type] = kind.__subclasses__()
    return {kind}.union(*map(_with_subclasses, below))


def _objects() -> Iterator[object]:
    """What the collector knows, and what that refers to: the collector leaves out what cannot be in a cycle."""
    waiting: list[object] = gc.get_objects()
    while waiting:
        # In parts: there may be millions.
        part, waiting = waiting[-_OBJECTS_AT_ONCE:], waiting[:-_OBJECTS_AT_ONCE]
        yield from part
        for each in gc.get_referents(*part):
            yield each
            if type(each) in (dict, tuple) and each and not gc.is_tracked(each):
                waiting.append(each)


def _threads() -> str:
    if _tasks() == 1:
        return ""
    # A library that is ready for forks ends its threads before one, and starts them again when it needs them.
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    until = time.monotonic() + _THREAD_SECONDS
    while (count := _tasks()) > 1 and time.monotonic() < until:
        time.sleep(0.001)
    return f"its import left {count - 1} threads running" if count > 1 else ""


def _tasks() -> int:
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208


class _Parent:
    def __init__(self, channel: Channel, logs: Logs) -> None:
        self._channel = channel
        self._logs = logs
        self._places = channel.descriptor, logs.descriptors[0]
        self._sockets = stdlib("_socket")
        self._socket = self._sockets.socket(fileno=channel.descriptor)
        self._data = b""
        self._descriptors: list[int] = []
        self._poll = select.poll()
        self._poll.register(channel.descriptor, select.POLLIN)
        self._children: dict[int, tuple[int, int, dict[str, Any]]] = {}

    def run(self) -> None:
        """Serves until the process ends; returns in a child."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._children:
                    self._reap(descriptor)
                    continue
                self._receive()
                for kind, head in self._frames():
                    if kind == frames.FORK and self._fork(decode(head.decode())):
                        return
                    if kind == frames.CLEAR:
                        self._clear(decode(head.decode())["tmp"])

    def _receive(self) -> None:
        sockets = self._sockets
        space = sockets.CMSG_SPACE(_MOST_DESCRIPTORS * 4)
        data, ancillary, _, _ = self._socket.recvmsg(32768, space, sockets.MSG_CMSG_CLOEXEC)
        if not data:
            os._exit(0)
        self._data += data
        for level, kind, content in ancillary:
            if level == sockets.SOL_SOCKET and kind == sockets.SCM_RIGHTS:
                self._descriptors += memoryview(content).cast("i")

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        while len(self._data) >= frames.HEADER_BYTES:
            magic, kind, _, _, length, _ = frames.HEADER.unpack_from(self._data)
            if magic != frames.MAGIC:
                os._exit(70)
            end = frames.HEADER_BYTES + length
            if len(self._data) < end:
                return
            head, self._data = self._data[frames.HEADER_BYTES : end], self._data[end:]
            yield kind, head

    def _fork(self, said: dict[str, Any]) -> bool:
        """True in the child."""
        count = said["descriptors"]
        descriptors, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        try:
            pid = os.fork()
        except OSError:
            self._say(frames.CHILD_ENDED, name=said["name"], status=127)
            pid = -1
        if pid == 0:
            try:
                self._be_born(descriptors, said["tmp"])
            except BaseException:  # noqa: BLE001  (nothing may go on that is half a child)
                os._exit(70)
            return True
        for descriptor in descriptors:
            os.close(descriptor)
        if pid > 0:
            self._watch(pid, frames.CHILD_ENDED, {"name": said["name"]})
        return False

    def _watch(self, pid: int, kind: int, said: dict[str, Any]) -> None:
        watch = os.pidfd_open(pid)
        self._children[watch] = pid, kind, said
        self._poll.register(watch, select.POLLIN)

    def _reap(self, watch: int) -> None:
        pid, kind, said = self._children.pop(watch)
        self._poll.unregister(watch)
        os.close(watch)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if kind == frames.CLEARED:
            self._say(kind, **said, complete=status == 0)
        else:
            self._say(kind, **said, status=status)

    def _say(self, kind: int, **said: Any) -> None:
        self._channel.send(frames.pack(kind, 0, to_bytes(said)))

    def _be_born(self, descriptors: list[int], tmp: str) -> None:
        """In the child: from a copy of the parent to an instance of its own."""
        channel, pipe, output, *groups = descriptors
        # First of all, so that what it takes from now on is counted there.
        for group in groups:
            os.write(group, b"0")
            os.close(group)
        # Its number is free already, and soon somebody else's.
        self._socket.detach()
        for watch in self._children:
            os.close(watch)
        for other in self._descriptors:
            os.close(other)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        for source, place in zip((channel, pipe), self._places, strict=True):
            os.dup2(source, place, inheritable=False)
            os.close(source)
        self._channel.adopt(self._places[0])
        self._logs.adopt(self._places[1])
        renew(tmp)
        self._channel.send(frames.pack(frames.HELLO, 0, b"", sys.version.partition(" ")[0].encode()))

    def _clear(self, tmp: str) -> None:
        """Removes what a child left, in a process of its own: what lies there may take long to go."""
        try:
            pid = os.fork()
        except OSError:
            self._say(frames.CLEARED, tmp=tmp, complete=False)
            return
        if pid:
            self._watch(pid, frames.CLEARED, {"tmp": tmp})
            return
        status = 1
        try:
            os.nice(10)
            status = 0 if remove(tmp, time.monotonic() + _CLEAR_SECONDS) else 1
        finally:
            os._exit(status)


def renew(tmp: str) -> None:
    """Gives a child a folder of its own for temporary files, and randomness that no other instance has.

    Python's `random` and OpenSSL renew theirs by themselves after a fork.
    """
    os.mkdir(tmp, 0o700)  # noqa: PTH102
    if "TMPDIR" not in os.environ:
        os.environ["TMPDIR"] = tmp
        temporary = sys.modules.get("tempfile")
        if getattr(temporary, "tempdir", None) == _TMP:
            temporary.tempdir = tmp  # type: ignore[union-attr]
    if (numeric := sys.modules.get("numpy.random")) is not None:
        numeric.seed()
    if (ids := sys.modules.get("uuid")) is not None:
        ids._node = ids._last_timestamp = None  # type: ignore[attr-defined]
    for name in _DATABASES:
        if (database := sys.modules.get(name)) is not None:
            # SQLite seeds its generator anew when it opens a file in another process than the one before.
            database.connect("/dev/null").close()


def remove(folder: str, deadline: float) -> bool:
    """Removes a folder with all that is in it, False when it is not done by `deadline`, a monotonic time."""
    top = f"{folder}.gone"
    os.mkdir(top, 0o700)  # noqa: PTH102
    os.chmod(folder, 0o700)  # noqa: PTH101
    os.rename(folder, f"{top}/0")  # noqa: PTH104
    waiting, number = [f"{top}/0"], 0
    while waiting:
        path = waiting.pop()
        with os.scandir(path) as entries:
            for entry in entries:
                if time.monotonic() > deadline:
                    return False
                if entry.is_dir(follow_symlinks=False):
                    # To the top: no depth of folders makes a path too long. A closed one cannot be moved.
                    number += 1
                    os.chmod(entry.path, 0o700)  # noqa: PTH101
                    os.rename(entry.path, f"{top}/{number}")  # noqa: PTH104
                    waiting.append(f"{top}/{number}")
                else:
                    os.unlink(entry.path)  # noqa: PTH108
        os.rmdir(path)  # noqa: PTH106
    os.rmdir(top)  # noqa: PTH106
    return True
