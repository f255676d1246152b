"""How the rules of a container's network get in from outside: the server enters it, or another container joins it."""

from __future__ import annotations

import asyncio
import base64
import os
import zlib
from functools import partial
from pathlib import Path

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.docker.base import run
from clowdy.runtimes.docker.container import NO_NETWORK
from clowdy.runtimes.docker.engine import Engine, EngineDown
from clowdy.runtimes.docker.images import Images
from clowdy.runtimes.docker.namespaces import open_namespace, set_rules_in, try_rules
from clowdy.runtimes.layers.threads import away

_PROGRAM = Path(__file__).with_name("netfilter_worker.py").read_text()
_SECONDS = 30.0


class RuleSetter:
    """`enters` False behaves as for a server that is not root, which may not enter another network namespace.

    Then a container of the functions image joins the other one's network and may change that, and nothing else.
    """

    def __init__(self, engine: Engine, images: Images, server: str, *, enters: bool | None = None) -> None:
        self._engine = engine
        self._images = images
        self._server = server
        self._enters = os.geteuid() == 0 if enters is None else enters
        self._trial: asyncio.Task[None] | None = None
        self.refusal: str | None = None
        """Why no rules can be set here, with the cure; None where they can, or where it is not known yet."""

    async def open(self, message: bytes) -> None:
        """Finds out whether rules can be set here, by a trial with this `message`; what takes long goes on after it."""
        self.refusal = None
        if self._enters:
            try:
                await away(partial(try_rules, message))
                return
            except PermissionError:
                # Root of a container, as where the server runs in one.
                self._enters = False
            except OSError as error:
                self.refusal = _kernel_refuses(error)
                return
        self._trial = asyncio.get_running_loop().create_task(self._try(message))

    async def _try(self, message: bytes) -> None:
        try:
            await self._join(NO_NETWORK, message)
        except EngineDown:
            # Nothing starts meanwhile, and what is started later says what is wrong.
            pass
        except DriverUnavailable as error:
            self.refusal = (
                f"the Docker Engine lets no rules be set for the network of a container: {error}. "
                "Cure: let containers have NET_ADMIN, or run the server as root"
            )

    async def known(self) -> None:
        """Returns once `refusal` is known."""
        if self._trial is not None:
            await asyncio.wait([self._trial])

    def find(self, pid: int) -> int:
        """A descriptor of the network of a process of this machine, -1 where this server enters none.

        `pid` is 0 where it is not known. Raises DriverUnavailable.
        """
        if not self._enters or pid == 0:
            return -1
        try:
            return open_namespace(pid)
        except OSError as error:
            said = error.strerror or error
            raise DriverUnavailable(f"the network of a container cannot be entered: {said}") from None

    async def set(self, container: str, namespace: int, message: bytes) -> None:
        """Gives a running container its rules; `namespace` is what `find` found. Raises DriverUnavailable."""
        if namespace < 0:
            await self._join(f"container:{container}", message)
            return
        # Of its own, since the other may be closed while the thread is at it.
        own = os.dup(namespace)
        try:
            await away(partial(set_rules_in, own, message))
        except OSError as error:
            raise DriverUnavailable(_kernel_refuses(error)) from None
        finally:
            os.close(own)

    async def _join(self, network: str, message: bytes) -> None:
        image = await self._images.of(None)
        packed = base64.b64encode(zlib.compress(message)).decode()
        program = [self._images.base.python.executable, "-I", "-S", "-c", _PROGRAM, packed]
        try:
            async with asyncio.timeout(_SECONDS):
                await run(self._engine, image, program, self._server, network=network, capabilities=["NET_ADMIN"])
        except TimeoutError:
            raise DriverUnavailable(f"the container that sets rules took longer than {_SECONDS:g} s") from None

    async def close(self) -> None:
        """Ends the trial."""
        trial, self._trial = self._trial, None
        if trial is not None:
            trial.cancel()
            await asyncio.wait([trial])


def _kernel_refuses(error: OSError) -> str:
    said = error.strerror or str(error)
    return f"the kernel takes no rules for the network of a container: {said}. Cure: modprobe nf_tables nft_reject_inet"
