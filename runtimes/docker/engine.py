"""The Docker Engine, asked from threads of its own. The one home of the docker SDK: its errors become ours here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
import stat
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.docker.container import PERIOD_MICROSECONDS, quota

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

OLDEST_API = (1, 41)
"""That of Docker Engine 20.10."""

CURE = "systemctl start docker"
_STARTERS = ("containerd", "runc", "crun")
_SECONDS = 15
_LONG_SECONDS = 1800
_SILENT = f"it gave no answer for {_SECONDS} s"
_BEING_REMOVED = 409
_THREADS = 16
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


class EngineDown(DriverUnavailable):
    """The engine does not answer. It may come back by itself."""

    def __init__(self, text: str) -> None:
        super().__init__(text, passing=True)


class Missing(DriverUnavailable):
    """The engine does not have what was named: a container, an image or a network."""


class Refused(DriverUnavailable):
    """The engine answered that it cannot; `status` is that of HTTP."""

    def __init__(self, text: str, status: int = 500) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Facts:
    """What an engine says of itself. `maps_users` where user ids inside are others outside, `rootless` where the engine
    runs as an ordinary user; `components` are names and versions of what starts its containers.
    """

    version: str
    api: tuple[int, int]
    memory: bool
    processes: bool
    cpu: bool
    maps_users: bool
    rootless: bool
    live_restore: bool
    swarm: bool
    init: bool
    storage: str
    root: str
    cgroups: str
    components: tuple[str, ...]


class Engine:
    """One engine, by the address of its socket.

    `on_back` is called on the event loop when it answers again after it was down.
    """

    def __init__(self, address: str | None = None) -> None:
        self.address = address or find_address(os.environ)
        self.on_back: Callable[[], None] = lambda: None
        self.down: EngineDown | None = None
        """Why it does not answer now; None while it does."""
        self.facts: Facts | None = None
        """What it said of itself when it was opened."""
        self._client: Any = None
        self._patient: Any = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="docker")
        self._watching: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> Facts:
        """What the engine says of itself; raises EngineDown, or DriverUnavailable where it is not one of ours."""
        self._loop = asyncio.get_running_loop()
        if not self.address.startswith("unix://"):
            raise DriverUnavailable(
                f"DOCKER_HOST names {self.address}, and functions need an engine on this machine. "
                "Cure: unset it, or name a socket (unix:///var/run/docker.sock)"
            )
        self._client, self._patient = await self._loop.run_in_executor(self._threads, self._connect)
        version, info = await asyncio.gather(
            self.ask(lambda client: client.version()), self.ask(lambda client: client.info())
        )
        self.facts = read_facts(version, info)
        return self.facts

    def _connect(self) -> tuple[Any, Any]:
        try:
            self._knock()
            client = docker.APIClient(self.address, version="auto", timeout=_SECONDS, max_pool_size=_THREADS)
            known = client.api_version
            return client, docker.APIClient(self.address, version=known, timeout=_LONG_SECONDS, max_pool_size=_THREADS)
        except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise self._translate(error) from None

    async def ask(self, question: Callable[[Any], Answer]) -> Answer:
        """The answer to `question`; raises EngineDown, Missing or Refused.

        While the engine is known to be down it is not asked: threads that wait for it would keep others waiting.
        """
        loop = asyncio.get_running_loop()
        if self.down is not None:
            raise EngineDown(str(self.down))
        try:
            return await loop.run_in_executor(self._threads, self.ask_here, question)
        except EngineDown as error:
            self._lost(error)
            raise

    def ask_here(self, question: Callable[[Any], Answer], *, long: bool = False) -> Answer:
        """The same from a thread, which it blocks; `long` for what may be silent for minutes."""
        client = self._patient if long else self._client
        if client is None:
            raise EngineDown(f"the connection to the Docker Engine at {self.address} is closed")
        try:
            self._knock()
            return question(client)
        except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise self._translate(error) from None

    def _knock(self) -> None:
        """Raises OSError where nobody listens: the SDK would leave a socket open for each time that it finds out."""
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.settimeout(_SECONDS)
            knocking.connect(self.address.removeprefix("unix://"))

    async def remove(self, container: str) -> None:
        """Removes a container with all that runs in it; harmless where it is gone or on its way. Raises as `ask`."""
        try:
            await self.ask(lambda client: client.remove_container(container, force=True, v=True))
        except Missing:
            pass
        except Refused as error:
            if error.status != _BEING_REMOVED:
                raise

    def limit(self, container: str, memory_bytes: int, cpu: float) -> Future[Any]:
        """Sets what a running container may use; to be waited for in a thread."""
        return self._threads.submit(
            self.ask_here,
            lambda client: client.update_container(
                container,
                mem_limit=memory_bytes,
                memswap_limit=memory_bytes,
                cpu_period=PERIOD_MICROSECONDS,
                cpu_quota=quota(cpu),
            ),
        )

    def in_thread(self, question: Callable[[Any], Answer]) -> asyncio.Future[Answer]:
        """The answer of what may take long, as a build's output, without a guard against an engine that is down."""
        return asyncio.get_running_loop().run_in_executor(self._threads, partial(self.ask_here, question, long=True))

    def _translate(self, error: Exception) -> DriverUnavailable:
        if isinstance(error, NotFound):
            return Missing(f"the Docker Engine has it no longer: {_explanation(error)}")
        if isinstance(error, APIError):
            return Refused(f"the Docker Engine refused: {_explanation(error)}", error.status_code or 500)
        return EngineDown(
            f"the Docker Engine at {self.address} does not answer: {_why(error, self.address)}. "
            f"Cure: {_cure(self.address)}"
        )

    def _lost(self, error: EngineDown) -> None:
        if self.down is None and self._client is not None and self._loop is not None:
            self.down = error
            log.warning("%s", error)
            self._watching = self._loop.create_task(self._watch())

    async def _watch(self) -> None:
        """Asks until it answers."""
        assert self._loop is not None
        pause = _FIRST_PAUSE
        while True:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            try:
                await self._loop.run_in_executor(self._threads, self.ask_here, lambda client: client.ping())
            except DriverUnavailable:
                continue
            self.down = self._watching = None
            log.warning("the Docker Engine at %s answers again", self.address)
            self.on_back()
            return

    async def close(self) -> None:
        """Asks nothing any more."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait([watching])
        client, self._client = self._client, None
        patient, self._patient = self._patient, None
        self.down = None
        if client is not None:
            await asyncio.get_running_loop().run_in_executor(None, partial(self._threads.shutdown, wait=True))
            client.close()
            patient.close()
            self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="docker")


def raise_errors(stream: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Reads a stream of progress to its end; its last message. Raises Refused for what it says went wrong.

    The engine reports a failed pull, import or build in the stream alone, and the SDK passes it on as data.
    """
    last: Mapping[str, Any] = {}
    for message in stream:
        if "error" in message:
            raise Refused(f"the Docker Engine refused: {str(message['error']).strip()}")
        last = message
    return last


def find_address(environ: Mapping[str, str]) -> str:
    """Where the engine is: DOCKER_HOST, else the socket of Colima, of an engine without root, or the usual one."""
    if host := environ.get("DOCKER_HOST", ""):
        return host
    candidates = [f"{environ.get('HOME', '/root')}/.colima/default/docker.sock"]
    if os.geteuid() != 0 and (folder := environ.get("XDG_RUNTIME_DIR")):
        candidates.append(f"{folder}/docker.sock")
    found = next((path for path in candidates if _is_socket(path)), "/var/run/docker.sock")
    return f"unix://{found}"


def _is_socket(path: str) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISSOCK(Path(path).stat().st_mode)
    return False


def read_facts(version: Mapping[str, Any], info: Mapping[str, Any]) -> Facts:
    """From the engine's answers to a value; raises DriverUnavailable for an engine that is too old or not Linux."""
    number = str(version.get("Version", "?"))
    major, _, minor = str(version.get("ApiVersion", "0.0")).partition(".")
    api = int(major), int(re.match(r"\d*", minor)[0] or 0)  # type: ignore[index]
    if api < OLDEST_API:
        raise DriverUnavailable(
            f"Docker Engine {number} is too old: 20.10 or later is needed. Cure: apt-get install docker.io"
        )
    if info.get("OSType", "linux") != "linux":
        raise DriverUnavailable(f"the Docker Engine runs {info['OSType']} containers, and functions need Linux")
    options = " ".join(map(str, info.get("SecurityOptions") or ()))
    return Facts(
        version=number,
        api=api,
        memory=bool(info.get("MemoryLimit")),
        processes=bool(info.get("PidsLimit")),
        cpu=bool(info.get("CpuCfsQuota")),
        maps_users="name=userns" in options or "name=rootless" in options,
        rootless="name=rootless" in options,
        live_restore=bool(info.get("LiveRestoreEnabled")),
        swarm=(info.get("Swarm") or {}).get("LocalNodeState", "inactive") != "inactive",
        init=bool(info.get("InitBinary")),
        storage=str(info.get("Driver", "?")),
        root=str(info.get("DockerRootDir", "")),
        cgroups=str(info.get("CgroupVersion", "?")),
        components=tuple(
            f"{component.get('Name')} {component.get('Version')}"
            for component in version.get("Components") or ()
            if component.get("Name") in _STARTERS
        ),
    )


def _explanation(error: APIError) -> str:
    text = error.explanation
    said = text.decode(errors="replace") if isinstance(text, bytes) else str(text or error)
    return " ".join(said.split())[:500]


def _why(error: Exception, address: str) -> str:
    path = Path(address.removeprefix("unix://"))
    text = str(error)
    if not path.exists():
        return "there is no such socket"
    if "Permission denied" in text or "Errno 13" in text:
        return "this user may not use it"
    if "Connection refused" in text or "Errno 111" in text:
        return "nobody listens there"
    if "timed out" in text:
        return _SILENT
    if "RemoteDisconnected" in text or "Connection reset" in text or "Connection aborted" in text:
        return "it broke off the connection"
    return " ".join(text.split())[-200:] or type(error).__name__


def _cure(address: str) -> str:
    path = Path(address.removeprefix("unix://"))
    if path.exists() and not os.access(path, os.W_OK):
        return "usermod -aG docker USER, and sign in again"
    return CURE if path.exists() else f"apt-get install docker.io, and {CURE}"
