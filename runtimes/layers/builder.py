"""Makes locks and layers: requirements in, complete folders out."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import ipaddress
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TypeVar

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.layers.api import BuildFailed, Say
from clowdy.runtimes.layers.box import Box, Job, Outcome
from clowdy.runtimes.layers.flights import Flights
from clowdy.runtimes.layers.index import Index
from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.layers.store import BUILDS, LayerStore
from clowdy.runtimes.layers.targets import lock_platform, lock_python, marker_environment
from clowdy.runtimes.layers.tools import find_uv
from clowdy.runtimes.layers.tree import delete, seal, too_large, too_many_files
from clowdy.runtimes.layers.watch import Stop
from clowdy.runtimes.layers.words import Words
from clowdy.runtimes.layers.workshop import Isolation, Workshop, Wrap
from clowdy.runtimes.runner import Python, find_python
from clowdy.runtimes.sandbox.cgroups import Groups, find_groups
from clowdy.runtimes.sandbox.command import find_system
from clowdy.runtimes.sandbox.identities import Identities, choose_build_identities
from clowdy.runtimes.sandbox.network import Policy, find_outside, outside_command
from clowdy.runtimes.sandbox.seccomp import build_filter
from clowdy.runtimes.sandbox.view import View, open_view
from clowdy.schema.locks import LARGEST_LOCK_BYTES, Lock, Pin, Wanted, chosen, parse_lock
from clowdy.schema.rejection import Rejection
from clowdy.schema.units import format_size

Result = TypeVar("Result")

_KILLED = (137, -9)
_REFUSED = {
    f"(os error {errno.EFBIG})": Stop.SIZE,
    f"(os error {errno.ENOSPC})": Stop.DISK,
    f"(os error {errno.EDQUOT})": Stop.DISK,
}


class Apart(Enum):
    """How far builds are kept apart from this machine."""

    WHOLLY = "in bubblewrap, with a network of their own"
    PARTLY = "in bubblewrap where it works, with the server's network"


class LayerBuilder:
    """Implements `Packages`, below `folder`, which has the layers and nothing else.

    `run_dir` is where bubblewrap finds them when `folder` lies where other users cannot pass. PARTLY is for
    development, where functions run without isolation too.
    """

    def __init__(
        self,
        folder: Path,
        run_dir: Path,
        index: Index,
        *,
        apart: Apart = Apart.WHOLLY,
        python: str | None = None,
        limits: BuildLimits | None = None,
    ) -> None:
        self._folder = folder
        self._run_dir = run_dir
        self._index = index
        self._apart = apart
        self._wanted_python = python
        self._limits = limits or BuildLimits()
        self._store = LayerStore(folder)
        self._locks: Flights[Lock] = Flights()
        self._layers: Flights[None] = Flights()
        self._turns = asyncio.Semaphore(self._limits.builds)
        self._setting_up = asyncio.Lock()
        self._ready = False
        self._python: Python
        self._uv: Path
        self._view: View
        self._box: Box
        self._groups: Groups | None = None
        self._identities: Identities | None = None
        self._isolation: Isolation | None = None

    @property
    def python(self) -> str:
        """See Packages."""
        return lock_python(self._python)

    @property
    def platform(self) -> str:
        """See Packages."""
        return lock_platform()

    @property
    def index(self) -> str:
        """See Packages."""
        return self._index.digest

    async def open(self) -> None:
        """Clears what an earlier server left and finds the layers that are there; raises DriverUnavailable.

        What a build needs is looked for by the first one.
        """
        await _away(self._open)

    def _open(self) -> None:
        self._python = find_python(self._wanted_python, for_any_user=self._apart is Apart.WHOLLY and os.geteuid() == 0)
        self._store.open()

    async def close(self) -> None:
        """Ends every build."""
        await self._locks.close()
        await self._layers.close()
        if self._ready:
            self._ready = False
            if self._groups is not None:
                self._groups.close()
            self._view.close(self._run_dir)

    def has(self, digest: str) -> bool:
        """See Packages."""
        return self._store.has(digest)

    def sizes(self) -> Mapping[str, int]:
        """See Packages."""
        return self._store.sizes

    async def remove(self, digests: Iterable[str]) -> None:
        """See Packages."""
        await _away(partial(self._store.remove, tuple(digests)))

    async def resolve(self, wanted: Wanted, *, before: Lock | None = None, say: Say) -> Lock:
        """See Packages."""
        if wanted.lock is not None:
            return self._lock(parse_lock(wanted.lock))
        if not wanted.lines:
            return self._lock(())
        key = f"{wanted.digest} {before.digest if before is not None else ''}"
        return await self._locks.join(key, partial(self._resolve, wanted, before), say)

    async def _resolve(self, wanted: Wanted, before: Lock | None, say: Say) -> Lock:
        kept = "" if before is None else "".join(f"{name}=={version}\n" for name, version in before.versions.items())
        async with self._workshop(say, wanted="".join(f"{line}\n" for line in wanted.lines), lock=kept) as workshop:
            await self._run(workshop, workshop.resolve(), say)
            return self._lock(await _away(partial(_read_lock, workshop.lock)))

    def _lock(self, pins: Iterable[Pin]) -> Lock:
        try:
            return Lock.of(chosen(pins, marker_environment(self._python)), self.python, self.platform)
        except Rejection as rejection:
            raise BuildFailed(rejection.message) from None

    async def build(self, lock: Lock, say: Say) -> None:
        """See Packages."""
        if not self.has(lock.digest):
            await self._layers.join(lock.digest, partial(self._build, lock), say)

    async def _build(self, lock: Lock, say: Say) -> None:
        if self.has(lock.digest):
            return
        if (lock.python, lock.platform) != (self.python, self.platform):
            raise BuildFailed(
                f"the lock is for Python {lock.python} on {lock.platform}, "
                f"and functions run Python {self.python} on {self.platform}"
            )
        async with self._workshop(say, wanted="", lock=lock.text) as workshop:
            if self._isolation is None:
                say("packages are installed without isolation: bubblewrap does not work here")
            elif self._apart is Apart.PARTLY:
                say("packages are installed with the server's own network")
            if lock.text:
                await self._run(workshop, workshop.install(), say)
                await self._run(workshop, workshop.compile(), say)
            # Nothing of the build runs any more, so that nothing changes behind what is judged.
            size = await _away(partial(seal, workshop.site, self._limits))
            await _away(partial(self._store.complete, lock.digest, workshop.site, size))
        count = len(lock.pins)
        say(f"{count} {'package' if count == 1 else 'packages'} installed, {format_size(size.bytes)}")

    @asynccontextmanager
    async def _workshop(self, say: Say, *, wanted: str, lock: str) -> AsyncIterator[Workshop]:
        """A scratch folder with what a build needs, which is gone afterwards."""
        async with self._turns:
            await self._set_up()
            wrap, resolvers = await self._network()
            uid = self._identities.take() if self._identities is not None else None
            scratch = await _away(partial(self._store.scratch, uid))
            try:
                workshop = self._workshop_in(scratch, uid, wrap)
                await _away(partial(workshop.prepare, wanted=wanted, lock=lock, resolvers=resolvers))
                yield workshop
            except OSError as error:
                raise BuildFailed(f"the requirements cannot be installed here: {error.strerror or error}") from None
            finally:
                await asyncio.shield(_away(partial(delete, scratch)))
                if uid is not None and self._identities is not None:
                    self._identities.give_back(uid)

    def _workshop_in(self, scratch: Path, uid: int | None, wrap: Wrap | None) -> Workshop:
        return Workshop(
            scratch=scratch,
            shown=self._view.shown / BUILDS / scratch.name,
            uv=self._uv,
            python=self._python,
            index=self._index,
            limits=self._limits,
            uid=uid,
            isolation=self._isolation,
            wrap=wrap,
        )

    async def _set_up(self) -> None:
        """Looks for all that builds need, once; raises DriverUnavailable."""
        async with self._setting_up:
            if not self._ready:
                await _away(self._find)
                try:
                    await self._try()
                except DriverUnavailable:
                    if self._apart is Apart.WHOLLY:
                        raise
                    self._isolation = self._identities = None
                self._ready = True

    def _find(self) -> None:
        self._view = open_view(self._folder, self._run_dir, BUILDS.strip("."))
        if self._view.written != self._folder and self._apart is Apart.WHOLLY:
            raise DriverUnavailable(
                f"{self._folder} lies where the users of builds cannot pass, and this process has no mounts of its "
                "own. Cure: --data-dir below a folder that all may pass"
            )
        bubblewrap = shutil.which("bwrap")
        if bubblewrap is None and self._apart is Apart.WHOLLY:
            raise DriverUnavailable("bubblewrap is not installed. Cure: apt-get install bubblewrap")
        self._identities = choose_build_identities(self._folder.parent) if self._view.written == self._folder else None
        found = find_uv(self._folder, for_any_user=self._identities is not None)
        self._uv = self._view.shown / found.name if found.parent == self._folder else found
        self._isolation = (
            Isolation(bubblewrap, find_system(self._python.prefix), build_filter()) if bubblewrap is not None else None
        )
        name = "clowdy-build-" + hashlib.sha256(os.fsencode(self._folder.resolve())).hexdigest()[:12]
        self._groups = find_groups(name)
        if self._groups is not None:
            self._groups.clear()
        self._box = Box(self._python.executable, self._limits, self._groups)

    async def _try(self) -> None:
        uid = self._identities.take() if self._identities is not None else None
        scratch = await _away(partial(self._store.scratch, uid))
        try:
            workshop = self._workshop_in(scratch, uid, None)
            await _away(partial(workshop.prepare, wanted="", lock="", resolvers=""))
            outcome = await self._box.run(workshop.version(), lambda line: None)
            if outcome.stop is not None:
                raise BuildFailed(self._stopped(outcome.stop))
            if outcome.status != 0:
                said = next(reversed(outcome.lines), "it ended without a word")
                raise DriverUnavailable(
                    f"isolated builds do not start: {said[:300]}. Cure: clowdy doctor says what the sandbox lacks"
                )
        finally:
            await asyncio.shield(_away(partial(delete, scratch)))
            if uid is not None and self._identities is not None:
                self._identities.give_back(uid)

    async def _network(self) -> tuple[Wrap | None, str]:
        """How a build gets its network, and what /etc/resolv.conf holds in it; raises DriverUnavailable."""
        if self._apart is Apart.PARTLY:
            return None, await _away(_own_resolvers)
        if not self._index.needs_network:
            return None, ""
        if os.geteuid() == 0 and self._identities is None:
            raise DriverUnavailable("a server that runs as root needs user ids for builds, and has none to give here")
        outside = await _away(partial(find_outside, self._python.executable))
        policy = Policy(allow_private=False, allowed=await self._private_addresses())
        return partial(outside_command, outside, policy), outside.resolver_file

    async def _private_addresses(self) -> tuple[str, ...]:
        """The addresses of index and proxy that a build could not reach otherwise."""
        loop = asyncio.get_running_loop()
        found: set[str] = set()
        for host, port in self._index.hosts:
            try:
                answers = await asyncio.wait_for(loop.getaddrinfo(host, port, type=socket.SOCK_STREAM), 10)
            except (OSError, TimeoutError):
                # uv meets the same, and says it with the URL.
                continue
            for answer in answers:
                address = ipaddress.ip_address(str(answer[4][0]).partition("%")[0])
                if address.is_loopback or address.is_unspecified:
                    raise DriverUnavailable(
                        f"the package index or proxy {host} is this machine's loopback, which an isolated build cannot "
                        "reach. Cure: give it another address, or let the settings name a folder (file://…)"
                    )
                if not address.is_global:
                    found.add(str(address))
        return tuple(sorted(found))

    async def _run(self, workshop: Workshop, job: Job, say: Say) -> None:
        """Runs one program of a build; raises BuildFailed with its reason."""
        words = Words(
            self._index.hide,
            {
                "/build/wanted.txt": "the requirements",
                f"{workshop.scratch}/wanted.txt": "the requirements",
                "/build/lock.txt": "the lock",
                f"{workshop.scratch}/lock.txt": "the lock",
                "/build/": "",
                f"{workshop.scratch}/": "",
                str(workshop.scratch): "",
            },
        )

        def on_line(line: str) -> None:
            if (shown := words.progress(line)) is not None:
                say(shown)

        outcome = await self._box.run(job, on_line)
        if outcome.stop is not None:
            raise BuildFailed(self._stopped(outcome.stop))
        if outcome.status != 0:
            reason = _reason(words, outcome)
            # What the kernel refused for a limit of ours; uv shows the number in any language.
            stop = next((stop for mark, stop in _REFUSED.items() if mark in reason), None)
            raise BuildFailed(reason if stop is None else self._stopped(stop))

    def _stopped(self, stop: Stop) -> str:
        limits = self._limits
        index = ", ".join(dict.fromkeys(self._index.shown)) or "the package index"
        return {
            Stop.MEMORY: f"installing takes more than {format_size(limits.memory_bytes)} of memory",
            Stop.SIZE: too_large(limits),
            Stop.FILES: too_many_files(limits),
            Stop.DISK: f"the disk is full: less than {format_size(limits.free_bytes)} would be left",
            Stop.TIME: f"it took longer than {limits.seconds:g} s",
            Stop.STALLED: f"nothing came from {index} for {limits.stall_seconds:g} s",
        }[stop]


def _reason(words: Words, outcome: Outcome) -> str:
    said = words.reason(outcome.lines)
    if said:
        return said
    return "it was killed" if outcome.status in _KILLED else f"it ended with status {outcome.status} and no reason"


def _read_lock(path: Path) -> tuple[Pin, ...]:
    # Written by the build: a link or a pipe in its place must lead nowhere.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        content = file.read(LARGEST_LOCK_BYTES + 1)
    try:
        return parse_lock(content.decode())
    except UnicodeDecodeError:
        raise BuildFailed("the resolver wrote a lock that is not text") from None
    except Rejection as rejection:
        raise BuildFailed(f"the resolver wrote a lock that cannot be taken: {rejection.message}") from None


def _own_resolvers() -> str:
    try:
        return Path("/etc/resolv.conf").read_text()
    except OSError:
        return ""


async def _away(work: Callable[[], Result]) -> Result:
    """The result of something that blocks."""
    return await asyncio.get_running_loop().run_in_executor(None, work)
