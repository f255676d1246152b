"""The container of one build: what it is given, its programs under the limits of a build, and what it has made."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.docker.archive import pack
from clowdy.runtimes.docker.container import PACKAGES, Mount, maker_config
from clowdy.runtimes.docker.engine import Engine, Refused
from clowdy.runtimes.docker.execution import execute
from clowdy.runtimes.layers.api import BuildFailed, Say
from clowdy.runtimes.layers.index import Certificates, Index
from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.layers.lines import Lines
from clowdy.runtimes.layers.outcome import Judge, Outcome
from clowdy.runtimes.layers.recipe import PLACE, Recipe, Step
from clowdy.runtimes.layers.sources import certificate_folders
from clowdy.runtimes.layers.threads import away
from clowdy.runtimes.layers.tree import judge as judge_tree
from clowdy.runtimes.layers.watch import MOST_BESIDE_BYTES, Progress, Stop, Taken
from clowdy.schema.locks import LARGEST_LOCK_BYTES
from clowdy.schema.text import printable
from clowdy.schema.units import MEBIBYTE

UV = "/tmp/uv"  # noqa: S108  (the container's own)
_OWN = "/tmp"  # noqa: S108  (the container's own)
# As another user than the programs of the build, which thus cannot end it.
_WAIT = ("-I", "-S", "-c", "import signal; signal.pause()")
_SEAL = (Path(__file__).parents[1] / "layers" / "seal_worker.py").read_text()
_REACH = """
import socket, sys
for host, port in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        socket.create_connection((host, int(port)), 3).close()
        sys.exit(0)
    except OSError:
        pass
if len(sys.argv) > 1:
    sys.exit(1)
# No name is known: whether there is an answer for one that nobody has.
try:
    socket.getaddrinfo("clowdy.invalid", None)
except socket.gaierror as error:
    sys.exit(error.errno == socket.EAI_AGAIN)
"""
_LOOK_SECONDS = 0.5
_MEASURE_SECONDS = 5.0
_KILL_SECONDS = 5.0
_NANOSECONDS_IN_TICK = 10_000_000
_LARGEST_CERTIFICATE_BYTES = MEBIBYTE
# What a container's runtime says of a program that cannot be run.
_NOT_RUN = (126, 127)


def build_config(
    image: str,
    python: str,
    limits: BuildLimits,
    *,
    uv: Path,
    folders: Sequence[Path],
    network: str,
    resolvers: Sequence[str],
    labels: Mapping[str, str],
) -> dict[str, Any]:
    """A container that waits for the steps of a build, with `network` from the first. Pure.

    `folders` of packages are seen where they are; `resolvers` are for when it is connected to one.
    """
    return maker_config(
        image,
        [python, *_WAIT],
        memory_bytes=limits.memory_bytes,
        cpu=limits.cpu,
        network=network,
        processes=limits.processes,
        open_files=limits.open_files,
        file_bytes=limits.layer_bytes + MEBIBYTE,
        mounts=[Mount(str(uv), UV), *(Mount(str(folder), str(folder)) for folder in folders)],
        # What is mounted there leaves no name in the image.
        own=[_OWN],
        resolvers=resolvers,
        labels=labels,
    )


class Workshop:
    """A container made by `build_config`. Whoever made it removes it, which ends whatever runs there."""

    def __init__(
        self,
        engine: Engine,
        container: str,
        python: str,
        uid: int,
        index: Index,
        limits: BuildLimits,
        root: Path | None,
        *,
        is_connected: bool = False,
    ) -> None:
        self._engine = engine
        self.container = container
        self.is_connected = is_connected
        """Whether it has a network from the first."""
        self._uid = uid
        self._index = index
        self._limits = limits
        self._root = root
        self._recipe = Recipe(PLACE, PACKAGES, UV, python, index, limits)
        self._judge = Judge(index, limits)
        self._certificates = Certificates()
        self._before: frozenset[str] = frozenset()

    async def start(self, *, wanted: str, lock: str) -> None:
        """Gives the build its files and starts the container."""
        files = {"wanted.txt": wanted.encode(), "lock.txt": lock.encode()}
        certificates = await away(lambda: _read_certificates(self._index))
        self._certificates = Certificates(
            file=f"{PLACE}/ca.pem" if "ca.pem" in certificates else None,
            folder=f"{PLACE}/certificates" if any("/" in name for name in certificates) else None,
            client=f"{PLACE}/client.pem" if "client.pem" in certificates else None,
        )
        below = PLACE[1:]
        archive = pack(
            {
                PACKAGES[1:]: 0o755,
                **{f"{below}{name}": 0o700 for name in ("", "/cache", "/home", "/certificates")},
            },
            {f"{below}/{name}": (0o600, content) for name, content in {**files, **certificates}.items()},
            owner=self._uid,
        )
        await self._engine.ask(lambda client: client.put_archive(self.container, "/", archive))
        await self._engine.ask(lambda client: client.start(self.container))
        self._before = await self._changes()

    async def reaches(self, hosts: Sequence[tuple[str, int]]) -> bool:
        """Whether one of these, each with its port, can be connected to; without any, whether names are resolved."""
        named = tuple(word for host, port in hosts for word in (host, str(port)))
        step = Step((self._recipe.python, "-I", "-S", "-c", _REACH, *named), {})
        user = f"{self._uid}:{self._uid}"
        return not await execute(self._engine, self.container, step, user=user, folder=PLACE, on_data=lambda data: None)

    async def resolve(self, say: Say) -> None:
        """Makes the lock for what is wanted."""
        await self._run(self._recipe.resolve(self._certificates), say)

    async def lock(self) -> str:
        """The text of the lock, and the end of the container: nothing changes the file while it is read."""
        await self._end()
        return await self._engine.in_thread(lambda client: _read_file(client.get_archive(self.container, _LOCK)[0]))

    async def install(self, say: Say) -> None:
        """Installs what the lock says."""
        await self._run(self._recipe.install(self._certificates), say)

    async def compile(self, say: Say) -> None:
        """Compiles what was installed."""
        await self._run(self._recipe.compile(PACKAGES), say)

    async def seal(self) -> Taken:
        """Judges and closes what was installed, and ends the container, so that nothing can change it any more."""
        limits = self._limits
        arguments = (PACKAGES, str(limits.layer_bytes), str(limits.layer_files), PLACE)
        step = Step((self._recipe.python, "-I", "-S", "-c", _SEAL, *arguments), {})
        said = await self._run(step, lambda line: None)
        try:
            wrong, path, size, files = json.loads(said[-1])
            taken = judge_tree(str(wrong), str(path), int(size), int(files), limits)
        except (IndexError, ValueError, KeyError):
            raise BuildFailed("what was installed cannot be judged") from None
        if await self._end():
            # The compiler goes on when one of its processes was ended.
            raise self._judge.stopped(Stop.MEMORY)
        await self._check_changes()
        return taken

    async def _check_changes(self) -> None:
        """Raises BuildFailed when the image would have more than packages: credentials were among the build's files."""
        own = f"{PACKAGES}/"
        changes = await self._changes()
        odd = {path for path in changes - self._before if not path.startswith(own)}
        odd |= {path for path in changes if path.startswith(f"{PLACE}/")}
        if odd:
            raise BuildFailed(f"it wrote outside of its folder: {printable(max(odd), 300)}")

    async def _changes(self) -> frozenset[str]:
        found = await self._engine.in_thread(lambda client: client.diff(self.container))
        return frozenset(str(each["Path"]) for each in found or ())

    async def _run(self, step: Step, say: Say) -> tuple[str, ...]:
        """Runs one program of the build; what it printed last. Raises BuildFailed with its reason."""
        loop = asyncio.get_running_loop()
        progress = Progress(loop.time())
        lines = Lines(self._judge.progress(say))

        def on_data(data: bytes) -> None:
            progress.printed(loop.time())
            lines.feed(data)

        user = f"{self._uid}:{self._uid}"
        running = asyncio.ensure_future(
            execute(self._engine, self.container, step, user=user, folder=PLACE, on_data=on_data)
        )
        try:
            stop = await self._watch(running, progress)
            if stop is not None:
                raise self._judge.stopped(stop)
            status = running.result()
        finally:
            running.cancel()
        said = lines.end()
        if status in _NOT_RUN:
            raise DriverUnavailable(f"builds do not start in the base image: {' '.join(said)[-300:]}")
        if status != 0 and await self._end():
            raise self._judge.stopped(Stop.MEMORY)
        self._judge.check(Outcome(status, said))
        return said

    async def _watch(self, running: asyncio.Future[int], progress: Progress) -> Stop | None:
        """Waits until it has ended, or why it has to."""
        loop = asyncio.get_running_loop()
        started = measured = loop.time()
        free = await away(self._free_bytes)
        while not (await asyncio.wait([running], timeout=_LOOK_SECONDS))[0]:
            now = loop.time()
            if now - started > self._limits.seconds:
                return Stop.TIME
            progress.worked(await self._ticks(), now)
            if progress.idle_seconds(now) > self._limits.stall_seconds:
                return Stop.STALLED
            left = await away(self._free_bytes)
            if left is not None and left < self._limits.free_bytes:
                return Stop.DISK
            most = self._limits.layer_bytes + MOST_BESIDE_BYTES
            # The engine walks all of it, so not each time.
            if now - measured > _MEASURE_SECONDS or (left is not None and free is not None and free - left > most):
                measured = now
                if await self._written_bytes() > most:
                    return Stop.SIZE
        return None

    def _free_bytes(self) -> int | None:
        """What is free where the engine keeps its data; None where that is not here."""
        try:
            found = os.statvfs(self._root) if self._root is not None else None
        except OSError:
            return None
        return None if found is None else found.f_bavail * found.f_frsize

    async def _ticks(self) -> int:
        stats = await self._engine.ask(lambda client: client.stats(self.container, stream=False, one_shot=True))
        return int(stats.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage", 0)) // _NANOSECONDS_IN_TICK

    async def _written_bytes(self) -> int:
        named = {"name": f"^/?{self.container}$"}
        found = await self._engine.in_thread(lambda client: client.containers(all=True, size=True, filters=named))
        return int(found[0].get("SizeRw") or 0) if found else 0

    async def _end(self) -> bool:
        """Ends the container; whether memory ran out in it."""
        try:
            await self._engine.ask(lambda client: client.kill(self.container))
        except Refused as error:
            # It has ended by itself.
            if error.status != 409:
                raise
        deadline = asyncio.get_running_loop().time() + _KILL_SECONDS
        while True:
            state = (await self._engine.ask(lambda client: client.inspect_container(self.container)))["State"]
            if not state["Running"]:
                return bool(state["OOMKilled"])
            if asyncio.get_running_loop().time() > deadline:
                raise Refused("the Docker Engine does not end the container of a build")
            await asyncio.sleep(_LOOK_SECONDS / 25)


_LOCK = f"{PLACE}/lock.txt"


def _read_certificates(index: Index) -> dict[str, bytes]:
    """Copies of certificates by their paths below PLACE; blocks. Links are followed: where they lead is not inside."""
    named = {"ca.pem": index.certificates, "client.pem": index.client_certificate}
    found = {name: Path(file).read_bytes() for name, file in named.items() if file is not None}
    for folder in certificate_folders(index):
        for path in folder.iterdir():
            try:
                if path.is_file() and path.stat().st_size <= _LARGEST_CERTIFICATE_BYTES:
                    found[f"certificates/{path.name}"] = path.read_bytes()
            except OSError:
                continue
    return found


def _read_file(archive: Any) -> str:
    """The one file of an archive. It was written by the build: what is no file, or too large, is empty."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(archive))) as tar:
        entry = tar.next()
        file = tar.extractfile(entry) if entry is not None and entry.isfile() else None
        return file.read(LARGEST_LOCK_BYTES + 1).decode(errors="replace") if file is not None else ""
