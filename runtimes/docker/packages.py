"""Makes locks and packages images: requirements in, images out that functions start from."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.backoff import Backoff
from clowdy.runtimes.docker.connections import NOWHERE, Connections, Place
from clowdy.runtimes.docker.container import NO_NETWORK, SERVER
from clowdy.runtimes.docker.driver import server_name
from clowdy.runtimes.docker.engine import Engine, EngineDown, Missing, Refused
from clowdy.runtimes.docker.images import Images
from clowdy.runtimes.docker.locks import KeptLocks
from clowdy.runtimes.docker.workshop import Workshop, build_config
from clowdy.runtimes.layers.api import BuildFailed, Say
from clowdy.runtimes.layers.index import Index
from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.layers.maker import Maker
from clowdy.runtimes.layers.sources import check_certificates, check_folders, holders, private_addresses
from clowdy.runtimes.layers.threads import away, whole
from clowdy.runtimes.layers.tools import find_uv
from clowdy.runtimes.layers.watch import Taken
from clowdy.runtimes.runner import Python
from clowdy.runtimes.sandbox.identities import container_build_identity
from clowdy.runtimes.sandbox.reach import Policy
from clowdy.runtimes.tasks import Tasks
from clowdy.schema.locks import Lock

log = logging.getLogger(__name__)

_FULL = "no space left on device"
_NO_WAY_OUT = (
    "containers of this engine do not reach the package index: packages are installed with the engine's own network"
)

_SHARED = Place("host", ())

Result = TypeVar("Result")


class _NoWayOut(Exception):
    """A container with a network of its own does not reach the index."""


class ImagePackages(Maker):
    """Implements `Packages` by `images` of `engine`, which the driver of `data_dir` opens and closes."""

    def __init__(
        self,
        data_dir: Path,
        engine: Engine,
        images: Images,
        connections: Connections,
        index: Index,
        *,
        limits: BuildLimits | None = None,
    ) -> None:
        super().__init__(index)
        self._data_dir = data_dir
        self._server = server_name(data_dir)
        self._folder = data_dir / "docker"
        self._engine = engine
        self._images = images
        self._connections = connections
        self._limits = limits or BuildLimits()
        self._turns = asyncio.Semaphore(self._limits.at_once)
        self._kept = KeptLocks.of(data_dir)
        self._work = Tasks()
        self._failures: dict[str, tuple[Backoff, str]] = {}
        self._returning: set[str] = set()
        self._left: set[str] = set()
        self._reached = False
        self._shares_network = False
        images.rebuild = self._rebuild

    @property
    def _interpreter(self) -> Python:
        return self._images.base.python

    @property
    def python(self) -> str:
        """See Packages."""
        return super().python if self._images.known else ""

    @property
    def platform(self) -> str:
        """See Packages."""
        return self._images.base.platform if self._images.known else ""

    async def close(self) -> None:
        """See Maker."""
        await self._work.close()
        await super().close()

    def has(self, digest: str) -> bool:
        """See Packages."""
        return digest in self._images.packages

    def sizes(self) -> Mapping[str, int]:
        """See Packages."""
        return {digest: image.bytes for digest, image in self._images.packages.items() if self._kept.has(digest)}

    async def remove(self, digests: Iterable[str]) -> None:
        """See Packages."""
        for digest in digests:
            await self._images.remove(digest)
            await away(partial(self._kept.remove, digest))
            self._failures.pop(digest, None)
        if self._images.known and self._engine.facts is not None:
            await self._images.tidy()

    async def build(self, lock: Lock, say: Say) -> None:
        """See Packages."""
        await away(partial(self._kept.keep, lock))
        if self.has(lock.digest):
            # Perhaps made by another server, whose name for it would be the last.
            with contextlib.suppress(Missing):
                await self._images.claim(lock.digest)
        await super().build(lock, say)

    async def _resolve(self, wanted: str, preferred: str, say: Say) -> str:
        return await self._reaching(partial(self._resolve_there, wanted, preferred, say), say)

    async def _install(self, lock: Lock, say: Say) -> Taken:
        return await self._reaching(partial(self._install_there, lock, say), say)

    async def _reaching(self, work: Callable[[], Awaitable[Result]], say: Say) -> Result:
        """The result of `work`, by the engine's own network where its containers have no way out.

        An engine that sets no rules of its own (`--iptables=false`) gives them none.
        """
        if not self._shares_network:
            try:
                return await work()
            except _NoWayOut:
                self._shares_network = True
        say(_NO_WAY_OUT)
        try:
            return await work()
        except BuildFailed:
            # It may be the index that is down.
            self._shares_network = False
            raise

    async def _resolve_there(self, wanted: str, preferred: str, say: Say) -> str:
        async with self._workshop(wanted=wanted, lock=preferred) as workshop:
            async with self._connected(workshop):
                await workshop.resolve(say)
            return await workshop.lock()

    async def _install_there(self, lock: Lock, say: Say) -> Taken:
        async with self._workshop(wanted="", lock=lock.text) as workshop:
            if lock.text:
                async with self._connected(workshop):
                    await workshop.install(say)
                await workshop.compile(say)
            size = await workshop.seal()
            image = await whole(self._images.keep(workshop.container, lock.digest))
        self._failures.pop(lock.digest, None)
        return Taken(image.bytes, size.files)

    @contextlib.asynccontextmanager
    async def _workshop(self, *, wanted: str, lock: str) -> AsyncIterator[Workshop]:
        """A container in which a build can run its steps; it is gone afterwards."""
        async with self._turns:
            check_certificates(self._index)
            check_folders(self._index, _readable)
            facts = self._engine.facts
            if facts is None:
                raise EngineDown(f"the Docker Engine at {self._engine.address} has not answered yet")
            place = NOWHERE
            if self._index.needs_network:
                place = _SHARED if self._shares_network else await self._connections.place()
            for left in tuple(self._left):
                await self._discard(left)
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            uv = await away(partial(find_uv, self._folder, for_any_user=True))
            name = f"clowdy-{self._server}-build-{secrets.token_hex(6)}"
            python = self._images.base.python.executable
            config = build_config(
                self._images.base.root,
                python,
                self._limits,
                uv=uv,
                folders=holders(self._index),
                # Of its own network it has none until its rules stand.
                network=_SHARED.network if place is _SHARED else NO_NETWORK,
                resolvers=place.resolvers,
                labels={SERVER: self._server},
            )
            uid = container_build_identity(self._data_dir, few=facts.maps_users)
            root = Path(facts.root) if facts.root else None
            try:
                # A thread cannot be cut off: what was begun has to end before it can be removed.
                await whole(self._engine.ask(lambda client: client.create_container_from_config(config, name=name)))
                workshop = Workshop(
                    self._engine, name, python, uid, self._index, self._limits, root, is_connected=place is _SHARED
                )
                await whole(workshop.start(wanted=wanted, lock=lock))
                yield workshop
            except Refused as error:
                if _FULL in str(error):
                    raise DriverUnavailable(
                        f"the disk of the Docker Engine is full ({facts.root}). Cure: make room on it",
                        passing=True,
                    ) from None
                raise
            finally:
                await whole(self._discard(name))

    @contextlib.asynccontextmanager
    async def _connected(self, workshop: Workshop) -> AsyncIterator[None]:
        """A build has a network that reaches the index meanwhile, if it needs one."""
        if not self._index.needs_network or workshop.is_connected:
            yield
            return
        policy = Policy(allow_private=False, allowed=await private_addresses(self._index))

        def lost() -> None:
            self._work.spawn(self._discard(workshop.container))

        async with self._connections.connected(workshop.container, policy, lost):
            self._reached = self._reached or await workshop.reaches(self._index.hosts)
            if not self._reached:
                raise _NoWayOut
            yield

    async def _discard(self, container: str) -> None:
        self._left.add(container)
        try:
            await self._engine.remove(container)
        except DriverUnavailable as error:
            log.info("a container of a build stays for now: %s", error)
            return
        self._left.discard(container)

    def _rebuild(self, digest: str) -> str:
        """Begins to bring back the image of a lock that is kept; what that means for whoever needs it now."""
        failures, why = self._failures.get(digest, (Backoff(free=0), ""))
        if failures.blocked(time.monotonic()):
            return f"it cannot be built again: {why}"
        if not self._kept.has(digest):
            return "push again to build it"
        if digest not in self._returning:
            self._returning.add(digest)
            self._work.spawn(self._bring_back(digest))
        return "it is being built again"

    async def _bring_back(self, digest: str) -> None:
        try:
            lock = await away(partial(self._kept.find, digest))
            if lock is not None:
                log.warning("the image of the requirements %s is gone: it is built again", digest[:12])
                await self.build(lock, lambda line: None)
                log.warning("the image of the requirements %s is there again", digest[:12])
        except (BuildFailed, DriverUnavailable) as error:
            failures, _ = self._failures.setdefault(digest, (Backoff(free=0), ""))
            failures.failed(time.monotonic())
            self._failures[digest] = (failures, str(error))
            log.warning("the image of the requirements %s cannot be built again: %s", digest[:12], error)
        finally:
            self._returning.discard(digest)


def _readable(folder: Path) -> bool:
    """What lies above it does not count: it is mounted."""
    try:
        return folder.stat().st_mode & 0o005 == 0o005
    except OSError:
        return False
