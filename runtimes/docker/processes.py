"""A container's processes as this machine sees them, and how its first one ended."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.docker.engine import Engine

_PAUSE_SECONDS = 0.02
_PATIENCE_SECONDS = 2.0
_GONE_SECONDS = 5.0


class ContainerProcess:
    """The first process of a container, in which `runner` runs. Implements `instance.Ending`."""

    def __init__(self, engine: Engine, container: str, runner: int) -> None:
        self._engine = engine
        self._container = container
        self._descriptor = -1
        self.oom_killed = False
        """Whether the engine says that memory ran out; known once it was waited for."""
        # Init is the parent of what came through the door.
        pid = _parent(runner)
        if pid and _is_init(pid):
            try:
                self._descriptor = os.pidfd_open(pid)
            except OSError:
                # The engine is asked instead.
                self._descriptor = -1

    async def wait(self, seconds: float) -> int | None:
        # The channel ends some 50 ms before the engine knows of it, and later on a busy machine.
        try:
            async with asyncio.timeout(max(seconds, _PATIENCE_SECONDS)):
                while True:
                    found = await self._engine.ask(lambda client: client.inspect_container(self._container))
                    state = found["State"]
                    if not state["Running"] and state["Status"] != "created":
                        self.oom_killed = bool(state["OOMKilled"])
                        return int(state["ExitCode"])
                    await asyncio.sleep(_PAUSE_SECONDS)
        except (DriverUnavailable, TimeoutError):
            return None

    async def kill(self) -> bool:
        """Kills it where that is allowed here, and with it all processes; True when they are gone.

        It is quicker than the engine, and works while that is down.
        """
        if self._descriptor < 0:
            return False
        try:
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
        except ProcessLookupError:
            pass
        except PermissionError:
            return False
        return await self._ended()

    async def _ended(self) -> bool:
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(self._descriptor, gone.set)
        try:
            async with asyncio.timeout(_GONE_SECONDS):
                await gone.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._descriptor)
        return True

    def close(self) -> None:
        """Lets go of it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _parent(pid: int) -> int:
    return int(_status(pid).get("PPid", "0"))


def _is_init(pid: int) -> bool:
    return _status(pid).get("NSpid", "").split()[-1:] == ["1"]


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
