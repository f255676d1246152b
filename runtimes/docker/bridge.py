"""The network of the engine that the functions and builds of one server are in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.docker.container import SERVER
from clowdy.runtimes.docker.engine import Engine, Missing, Refused

_OPTION = "com.docker.network.bridge"
# A device's name has 15 characters.
_NAME_DIGITS = 8
_TRIES, _PAUSE_SECONDS = 10, 0.1
# The networks of these are the machine's own, which others than containers are in.
_SHARED = ("macvlan", "ipvlan", "host", "null")


class Bridge:
    """One bridge; the engine keeps the containers on it apart as far as it does that, and `Connections` wholly."""

    def __init__(self, engine: Engine, server: str) -> None:
        self._engine = engine
        self._server = server
        self.name = f"clowdy-{server}"
        self.device = f"clowdy{server[:_NAME_DIGITS]}"
        """What the machine that the engine runs on calls it."""

    async def ensure(self) -> tuple[str, ...]:
        """Makes it if it is not there; the addresses and networks of all that the engine connects, its own included.

        Raises DriverUnavailable.
        """
        found = await self._networks()
        if (ours := self._ours(found)) is None:
            # Another start may make it at the same time.
            with contextlib.suppress(Refused):
                await self._make()
            found = await self._networks()
            if (ours := self._ours(found)) is None:
                await self._make()
                found = await self._networks()
        if ours is not None and not self._is_right(ours):
            raise DriverUnavailable(f"{self.name} is another network. Cure: docker network rm {self.name}")
        return tuple(sorted({address for network in found for address in _addresses(network)}))

    async def _networks(self) -> Sequence[Mapping[str, Any]]:
        return await self._engine.ask(lambda client: client.networks())

    def _ours(self, found: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        return next((network for network in found if network["Name"] == self.name), None)

    async def _make(self) -> None:
        await self._engine.ask(
            lambda client: client.create_network(
                self.name, driver="bridge", options=self._options(), labels={SERVER: self._server}, check_duplicate=True
            )
        )

    def _options(self) -> dict[str, str]:
        return {f"{_OPTION}.enable_icc": "false", f"{_OPTION}.name": self.device}

    def _is_right(self, network: Mapping[str, Any]) -> bool:
        ours = (network.get("Labels") or {}).get(SERVER) == self._server
        return ours and not network.get("EnableIPv6") and (network.get("Options") or {}) == self._options()

    async def remove(self) -> None:
        """Removes it, unless a container stays on it."""
        for _ in range(_TRIES):
            try:
                return await self._engine.ask(lambda client: client.remove_network(self.name))
            except Missing:
                return None
            except Refused:
                # A container that is being removed still counts.
                await asyncio.sleep(_PAUSE_SECONDS)
        return None


def _addresses(network: Mapping[str, Any]) -> Iterator[str]:
    if network["Driver"] in _SHARED:
        return
    for each in (network.get("IPAM") or {}).get("Config") or ():
        for key in ("Subnet", "Gateway"):
            if each.get(key):
                yield str(each[key])
