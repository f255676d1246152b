"""What is around the containers of a server, and not for them: the addresses of machines and of other containers."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from pathlib import Path

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.docker.base import run
from clowdy.runtimes.docker.bridge import Bridge
from clowdy.runtimes.docker.engine import Engine
from clowdy.runtimes.docker.images import Images
from clowdy.runtimes.sandbox.network import host_addresses

_PROGRAM = Path(__file__).with_name("addresses_worker.py").read_text()
_WHERE = os.pathsep.join(("/usr/local/sbin", "/usr/sbin", "/sbin"))
_HOST = "host"


class Surroundings:
    """Known once they were looked at. `outdated` says that the machines have to be looked at again."""

    def __init__(self, engine: Engine, images: Images, server: str, bridge: Bridge) -> None:
        self._engine = engine
        self._images = images
        self._server = server
        self._bridge = bridge
        self._ip = ""
        self._machine: tuple[str, ...] = ()
        self._elsewhere: tuple[str, ...] = ()
        self._networks: tuple[str, ...] = ()
        self._turn = asyncio.Lock()
        self.outdated = True
        self.refusal: str | None = None
        """Why they cannot be looked at here, with the cure."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses and networks."""
        return (*self._machine, *self._elsewhere, *self._networks)

    def open(self) -> None:
        """Finds what it takes."""
        self._ip = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:{_WHERE}") or ""
        self.refusal = None if self._ip else "iproute2 is not installed. Cure: apt-get install iproute2"
        self.outdated = True

    async def look(self) -> bool:
        """Makes the bridge if it is not there; whether anything changed. Raises DriverUnavailable."""
        async with self._turn:
            before = self.addresses
            if self.outdated:
                self._machine = await asyncio.get_running_loop().run_in_executor(None, host_addresses, self._ip)
            try:
                self._networks = await self._bridge.ensure()
                if self.outdated:
                    self._elsewhere = () if self._shares_network() else await self._look_elsewhere()
                self.outdated = False
            except DriverUnavailable:
                # What this machine tells is followed also while the engine tells nothing.
                if not self._networks or self.addresses == before:
                    raise
            return self.addresses != before

    def _shares_network(self) -> bool:
        """Whether the engine's network is that of this process."""
        try:
            return socket.if_nametoindex(self._bridge.device) > 0
        except OSError:
            return False

    async def _look_elsewhere(self) -> tuple[str, ...]:
        image = await self._images.of(None)
        program = [self._images.base.python.executable, "-I", "-S", "-c", _PROGRAM]
        return tuple((await run(self._engine, image, program, self._server, network=_HOST)).split())
