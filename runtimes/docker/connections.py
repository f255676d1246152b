"""The containers that have a network: what they reach is decided by rules in their own network namespaces.

The rules are set from outside, before any code of a function runs, and out of its reach. They stand there and not on
the engine's side, because what the engine's firewall sees of a container, and what it lets through to its own machine,
differs between versions and settings, and a reload of the machine's firewall takes it away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.docker.bridge import Bridge
from clowdy.runtimes.docker.container import NO_NETWORK
from clowdy.runtimes.docker.engine import Engine
from clowdy.runtimes.docker.images import Images
from clowdy.runtimes.docker.netfilter import rules_message
from clowdy.runtimes.docker.resolvers import find_resolvers
from clowdy.runtimes.docker.rule_setter import RuleSetter
from clowdy.runtimes.docker.surroundings import Surroundings
from clowdy.runtimes.sandbox.addresses import AddressWatch
from clowdy.runtimes.sandbox.reach import Policy, reach

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where a container is created: the engine's name of its network, and whom it asks for names."""

    network: str
    resolvers: tuple[str, ...]


NOWHERE = Place(NO_NETWORK, ())


@dataclass(eq=False, slots=True)
class Connection:
    """One container with a network. `namespace` is a descriptor of it, -1 where this server cannot enter it."""

    container: str
    policy: Policy
    resolvers: tuple[str, ...]
    namespace: int
    on_lost: Callable[[], None]
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    message: bytes = b""
    """What was set last."""


class Connections:
    """All of one server. `policy` says what functions reach; see RuleSetter for `enters`."""

    def __init__(
        self, engine: Engine, images: Images, server: str, policy: Policy, *, enters: bool | None = None
    ) -> None:
        self._engine = engine
        self._policy = policy
        self._bridge = Bridge(engine, server)
        self._rules = RuleSetter(engine, images, server, enters=enters)
        self._surroundings = Surroundings(engine, images, server, self._bridge)
        self._watch = AddressWatch(self._follow)
        self._connections: set[Connection] = set()
        self._messages: dict[tuple[Policy, tuple[str, ...]], bytes] = {}
        self._used = False

    @property
    def refusal(self) -> str | None:
        """Why no container can have a network here, with the cure; None where it can, or it is not known yet."""
        return self._surroundings.refusal or self._rules.refusal

    async def open(self) -> None:
        """Finds out what can be done here. The network itself is made at the first need."""
        self._surroundings.open()
        self._watch.open()
        await self._rules.open(rules_message(reach(self._policy, ()), ()))

    async def known(self) -> None:
        """Returns once `refusal` is known."""
        await self._rules.known()

    async def place(self) -> Place:
        """Where to create a container that is then given to `confine`; raises DriverUnavailable."""
        await self.known()
        if self.refusal is not None:
            raise DriverUnavailable(f"network: true cannot be had here: {self.refusal}")
        self._used = True
        await self._look()
        resolvers = await asyncio.get_running_loop().run_in_executor(None, find_resolvers)
        return Place(self._bridge.name, resolvers)

    async def confine(self, container: str, place: Place, pid: int, on_lost: Callable[[], None]) -> Connection:
        """Gives a container its rules, in which nothing but our own program has run; raises DriverUnavailable.

        `pid` is a process in it, 0 where that is not known. `on_lost` is called when the rules cannot be kept true:
        the container has to end then.
        """
        connection = Connection(container, self._policy, place.resolvers, self._rules.find(pid), on_lost)
        await self._add(connection)
        return connection

    @contextlib.asynccontextmanager
    async def connected(self, container: str, policy: Policy, on_lost: Callable[[], None]) -> AsyncIterator[None]:
        """A running container, created without a network but with the resolvers of `place`, has one meanwhile.

        Its rules stand before it is connected. Raises DriverUnavailable.
        """
        place = await self.place()
        connection = Connection(container, policy, place.resolvers, -1, on_lost)
        await self._add(connection)
        try:
            await self._engine.ask(lambda client: client.disconnect_container_from_network(container, NO_NETWORK))
            await self._engine.ask(lambda client: client.connect_container_to_network(container, place.network))
            yield
        finally:
            try:
                await asyncio.shield(self._disconnect(container, place.network))
            finally:
                self.release(connection)

    async def _disconnect(self, container: str, network: str) -> None:
        with contextlib.suppress(DriverUnavailable):
            await self._engine.ask(lambda client: client.disconnect_container_from_network(container, network))

    def release(self, connection: Connection) -> None:
        """Forgets a container that has ended."""
        self._connections.discard(connection)
        namespace, connection.namespace = connection.namespace, -1
        if namespace >= 0:
            os.close(namespace)

    async def _add(self, connection: Connection) -> None:
        self._connections.add(connection)
        try:
            await self._bring_up_to_date(connection)
        except BaseException:
            self.release(connection)
            raise

    async def _bring_up_to_date(self, connection: Connection) -> None:
        async with connection.turn:
            # What is around may change while it is set.
            while connection.message != (message := self._message(connection)):
                await self._rules.set(connection.container, connection.namespace, message)
                connection.message = message

    def _message(self, connection: Connection) -> bytes:
        key = (connection.policy, connection.resolvers)
        if key not in self._messages:
            reached = reach(connection.policy, self._surroundings.addresses)
            self._messages[key] = rules_message(reached, connection.resolvers)
        return self._messages[key]

    async def _look(self) -> None:
        """Looks what is around, and keeps what runs from what is new."""
        if await self._surroundings.look():
            self._messages.clear()
            await asyncio.gather(*map(self._follow_one, tuple(self._connections)))

    async def _follow(self) -> None:
        self._surroundings.outdated = True
        # The next container looks where there is none now.
        if self._connections:
            try:
                await self._look()
            except DriverUnavailable as error:
                log.warning("what containers with a network must not reach is not known: %s", error)

    async def _follow_one(self, connection: Connection) -> None:
        try:
            await self._bring_up_to_date(connection)
        except DriverUnavailable as error:
            if connection in self._connections:
                log.warning("a container ends: the rules of its network could not be brought up to date: %s", error)
                connection.on_lost()

    async def close(self) -> None:
        """Stops watching, and removes the network unless a container is on it."""
        await self._watch.close()
        await self._rules.close()
        self._messages.clear()
        used, self._used = self._used, False
        if used:
            await self._bridge.remove()
