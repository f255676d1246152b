"""A real Docker Engine in namespaces of its own, which nothing on this machine sees and which leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clowdy.runtimes.docker import system_image
from clowdy.runtimes.docker.engine import Engine
from clowdy.runtimes.runner import find_python

_INIT = Path(__file__).with_name("engine_init.py")
_WHERE = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_PROGRAMS = {"dockerd": "docker.io", "iptables": "iptables", "ip": "iproute2", "unshare": "util-linux"}


class EngineUnavailable(Exception):
    """A private engine cannot run here; the text says why."""


class PrivateEngine:
    """One engine, with the further `arguments` of dockerd.

    `data_size` ("200m") limits what its images and containers may take on the disk; without `way_out` it is as on a
    machine without a network. It ends with the process that started it, however that ends.
    """

    def __init__(self, *arguments: str, data_size: str = "", way_out: bool = True) -> None:
        self.connected = False
        """Whether its containers have a way out of this machine."""
        self.pid = 0
        """A process in its network namespace, for `nsenter --net --target`; it lives as long as the namespaces."""
        self.folder = Path("/nonexistent")
        self._arguments = arguments
        self._data_size = data_size
        self._way_out = way_out
        self._outer: subprocess.Popen[str] | None = None
        self._log = ""

    @property
    def url(self) -> str:
        """What DOCKER_HOST would say."""
        return f"unix://{self._socket}"

    @property
    def log(self) -> str:
        """What dockerd wrote, also after the stop."""
        with contextlib.suppress(FileNotFoundError):
            self._log = (self.folder / "log").read_text(errors="replace")
        return self._log

    @property
    def running(self) -> bool:
        """Whether there is a dockerd, answering or not."""
        return bool(self._dockerd())

    def start(self) -> PrivateEngine:
        """Makes the namespaces and waits until dockerd answers in them; raises EngineUnavailable."""
        assert self._outer is None, "it runs already"
        path = os.pathsep.join((os.environ.get("PATH", ""), *_WHERE))
        _check_programs(path)
        # A socket's path has 107 bytes, and a temporary folder may lie deep.
        self.folder = Path(tempfile.mkdtemp(prefix="clowdy-engine-", dir="/tmp"))
        self.folder.chmod(0o711)
        (self.folder / "daemon.json").write_text("{}")
        with (self.folder / "log").open("ab") as log:
            self._outer = subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd="/",
                env={**os.environ, "PATH": path},
                text=True,
                # An interrupt from the keyboard is for the tests alone: they stop it.
                start_new_session=True,
            )
        try:
            self.connected = self._hear() == "connected"
            self.pid = next(iter(_children(self._outer.pid)))
            self.restart()
        except BaseException:
            self._end()
            raise
        return self

    def stop(self) -> None:
        """Ends everything in its namespaces at once, and asserts that nothing is left."""
        if self._outer is None:
            return
        namespace = _network(self.pid)
        self._end()
        left = leftovers(self.folder, namespace)
        assert not left, left

    def kill(self) -> None:
        """Kills dockerd, and with it its containerd; containers and namespaces stay."""
        self._signal(signal.SIGKILL)
        self._until(lambda: not self.running, 10, "dockerd survives SIGKILL")

    def terminate(self) -> None:
        """Ends dockerd as a service manager does."""
        self._signal(signal.SIGTERM)
        self._until(lambda: not self.running, 30, "dockerd does not end")

    def restart(self) -> None:
        """Starts dockerd, ending the one that runs, and waits until it answers; raises EngineUnavailable."""
        if self.running:
            self.terminate()
        assert self._outer is not None and self._outer.stdin is not None
        self._outer.stdin.write("start\n")
        self._outer.stdin.flush()
        self._hear()
        self._until(lambda: self.answers or not self.running, 60, "dockerd does not answer")
        if not self.answers:
            raise EngineUnavailable(f"dockerd does not start here: {self._last_words()}")

    def docker(self, *arguments: str) -> list[str]:
        """What the command `docker` prints of it, its lines sorted: the engine's order is not always the same."""
        command = ["docker", "--host", self.url, *arguments]
        done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60)
        return sorted(done.stdout.splitlines())

    def pause(self) -> None:
        """Keeps dockerd from answering, as an overloaded machine would."""
        (pid,) = self._dockerd()
        os.kill(pid, signal.SIGSTOP)
        self._until(lambda: _stopped(pid), 10, "dockerd goes on")

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    @property
    def answers(self) -> bool:
        """Whether it answers at this moment."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            try:
                connection.connect(str(self._socket))
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in connection.recv(64)
            except OSError:
                return False

    @property
    def _socket(self) -> Path:
        return self.folder / "s"

    def _command(self) -> list[str]:
        folder = self.folder
        return [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"),
            *(sys.executable, "-I", "-S", str(_INIT), str(folder), folder.name),
            *(self._data_size, "out" if self._way_out else ""),
            *("dockerd", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--host", self.url),
            *("--pidfile", f"{folder}/pid", "--cgroup-parent", f"/{folder.name}"),
            # Control groups by systemd would be those of the machine's.
            *("--exec-opt", "native.cgroupdriver=cgroupfs", "--config-file", f"{folder}/daemon.json"),
            *self._arguments,
        ]

    def _hear(self) -> str:
        assert self._outer is not None and self._outer.stdout is not None
        said = self._outer.stdout.readline().strip()
        if not said:
            raise EngineUnavailable(f"no namespaces for a Docker Engine: {self._last_words()}")
        return said

    def _dockerd(self) -> list[int]:
        return [pid for pid in _children(self.pid) if _name(pid) == "dockerd"] if self.pid else []

    def _signal(self, number: signal.Signals) -> None:
        (pid,) = self._dockerd()
        os.kill(pid, number)

    def _until(self, holds: Callable[[], bool], seconds: float, otherwise: str) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"{otherwise}: {self._last_words()}"
            time.sleep(0.02)

    def _last_words(self) -> str:
        return " / ".join(self.log.splitlines()[-3:]) or "nothing is said"

    def _end(self) -> None:
        outer, self._outer = self._outer, None
        assert outer is not None
        with outer:
            assert outer.stdin is not None
            outer.stdin.close()
            self._log = self.log
            try:
                outer.wait(30)
            except subprocess.TimeoutExpired:
                outer.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def leftovers(folder: Path, namespace: str) -> list[str]:
    """What is still there of the engine that had this folder, and this network namespace (`net:[…]`)."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    groups = [line.split()[4] for line in mounts if " - cgroup" in line]
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [
        *(f"process {_name(pid)}" for pid in pids if _network(pid) == namespace or folder.name in _groups(pid)),
        *(f"mount {line}" for line in mounts if str(folder) in line),
        *(f"control group {group}/{folder.name}" for group in groups if Path(group, folder.name).exists()),
        *(f"file {path}" for path in (folder, *Path("/run").glob(f"**/*{folder.name}*")) if path.exists()),
    ]


def start_or_skip(engine: PrivateEngine) -> PrivateEngine:
    """Starts it; where it cannot run the test is skipped, but failed in continuous integration."""
    try:
        return engine.start()
    except EngineUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


def make_base_image(engine: PrivateEngine) -> None:
    """Gives it the base image that `clowdy doctor --make-base-image` makes."""

    async def make() -> None:
        asked = Engine(engine.url)
        await asked.open()
        try:
            await system_image.make(asked, find_python(None, for_any_user=True))
        finally:
            await asked.close()

    asyncio.run(make())


def _check_programs(path: str) -> None:
    if os.geteuid() != 0:
        raise EngineUnavailable("a private Docker Engine needs root")
    missing = [package for name, package in _PROGRAMS.items() if shutil.which(name, path=path) is None]
    if missing:
        raise EngineUnavailable(f"not installed: {', '.join(missing)}. Cure: apt-get install {' '.join(missing)}")


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _stopped(pid: int) -> bool:
    """Whether every thread is: the signal itself stops none at once."""
    states = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) == {"T"}


def _groups(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""


def _network(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""
