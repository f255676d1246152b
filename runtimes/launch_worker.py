"""The launcher's process: small, so that forking it is cheap, and the parent of every instance.

Reads requests (one datagram of JSON each, descriptors attached) from the descriptor that its argument names and
answers there. When the server is gone it kills what it started and ends. Standard library only; run with `-I -S`.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Any

_PR_SET_PDEATHSIG = 1
_HIGH = 200
_ROOT_GRACE_SECONDS = 1.0


class Worker:
    """Starts, kills and reaps."""

    def __init__(self, control: int) -> None:
        os.set_inheritable(control, False)
        self.control = socket.socket(fileno=control)
        self.control.setblocking(True)
        self.null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.pid = os.getpid()
        self.poll = select.poll()
        self.poll.register(control, select.POLLIN)
        self.children: dict[str, tuple[int, int]] = {}
        self.watched: dict[int, str] = {}
        self.roots: dict[str, float] = {}

    def run(self) -> None:
        """Works until the server is gone."""
        while True:
            ready = self.poll.poll(20 if self.roots else None)
            for descriptor, _ in ready:
                if descriptor == self.control.fileno():
                    if not self._request():
                        self._end()
                        return
                else:
                    self._reap(self.watched[descriptor])
            now = time.monotonic()
            for name in [name for name, deadline in self.roots.items() if deadline <= now]:
                del self.roots[name]
                if name in self.children:
                    os.kill(self.children[name][0], signal.SIGKILL)

    def _request(self) -> bool:
        try:
            data, ancillary, _, _ = self.control.recvmsg(256 * 1024, socket.CMSG_SPACE(16 * 4), socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            # The server was killed before it had read everything.
            return False
        if not data:
            return False
        descriptors: list[int] = []
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                count = len(content) // 4
                descriptors += [int.from_bytes(content[i * 4 : i * 4 + 4], sys.byteorder) for i in range(count)]
        request = json.loads(data)
        try:
            if request["do"] == "start":
                self._start(request, descriptors)
            elif request["do"] == "kill":
                self._kill(request["id"], request["root"])
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _say(self, **answer: Any) -> None:
        try:
            self.control.send(json.dumps(answer).encode())
        except OSError:
            self._end()

    def _start(self, request: dict[str, Any], descriptors: list[int]) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            self._say(id=request["id"], error=f"cannot start a process: {error.strerror}")
            return
        if pid == 0:
            try:
                self._become(request, descriptors)
            except BaseException as error:  # noqa: BLE001  (nothing may return into the worker's loop)
                os.write(2, f"{type(error).__name__}: {error}\n".encode())
            finally:
                os._exit(127)
        watch = os.pidfd_open(pid)
        self.children[request["id"]] = (pid, watch)
        self.watched[watch] = request["id"]
        self.poll.register(watch, select.POLLIN)
        self._say(id=request["id"], pid=pid)

    def _become(self, request: dict[str, Any], descriptors: list[int]) -> None:
        """In the child: from the launcher to the program, privileges first, in the one order that works."""
        *high, output = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _HIGH) for each in descriptors]
        null = fcntl.fcntl(self.null, fcntl.F_DUPFD_CLOEXEC, _HIGH)
        os.dup2(output, 2)
        os.dup2(output, 1)
        os.dup2(null, 0)
        for number, source in enumerate(high, 3):
            os.dup2(source, number)
        os.setsid()
        for path in request["join"]:
            with open(path, "wb", buffering=0) as file:
                file.write(b"0")
        try:
            # Whoever wakes a function, above all the server with a call for it, is not put aside for it.
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        except OSError:
            pass
        os.umask(0o022)
        if request["uid"] is not None:
            uid = request["uid"]
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        for kind, limit in request["limits"]:
            hard = resource.getrlimit(kind)[1]
            value = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(kind, (value, value))
        if request["held"]:
            # The last of `high`; nothing arrives on it when the server gives the process up.
            if not os.read(high.pop(), 1):
                os._exit(0)
            os.close(3 + len(high))
        # After the change of user, which clears it; and the launcher may have died before.
        self.libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != self.pid:
            os._exit(127)
        os.execve(request["argv"][0], request["argv"], request["env"])  # noqa: S606

    def _kill(self, name: str, root: bool) -> None:
        """Kills what `name` started; its first process too with `root`, else that one is given time to end itself.

        bubblewrap's first process ends when the init of its namespace is gone, and only then is everything gone.
        """
        if name not in self.children:
            return
        pid = self.children[name][0]
        if root:
            _kill_all(pid)
        else:
            for child in _descendants(pid):
                _signal(child)
            self.roots[name] = time.monotonic() + _ROOT_GRACE_SECONDS

    def _reap(self, name: str) -> None:
        pid, watch = self.children.pop(name)
        self.roots.pop(name, None)
        self.watched.pop(watch)
        self.poll.unregister(watch)
        os.close(watch)
        _, status = os.waitpid(pid, 0)
        self._say(id=name, exit=os.waitstatus_to_exitcode(status))

    def _end(self) -> None:
        for pid, _ in self.children.values():
            _kill_all(pid)
        os._exit(0)


def _kill_all(pid: int) -> None:
    """Kills the group that `pid` leads, and what left the group below it.

    The kernel kills a group at one go, also one that forks faster than it can be walked through.
    """
    _signal_group(pid, signal.SIGSTOP)
    below = _descendants(pid)
    _signal_group(pid, signal.SIGKILL)
    for child in below:
        _signal(child)
    _signal(pid)


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except OSError:
        pass


def _signal(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass


def _descendants(pid: int) -> list[int]:
    """Every process below `pid`, parents first."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        for child in _children(waiting.pop()):
            found.append(child)
            waiting.append(child)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208
        for task in tasks:
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += [int(each) for each in file.read().split()]
    except (OSError, ValueError):
        pass
    return found


if __name__ == "__main__":
    Worker(int(sys.argv[1])).run()
