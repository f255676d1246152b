"""A program of ours in a container: what it is asked and answers goes over one channel."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from clowdy.runtimes.docker.container import APP
from clowdy.runtimes.docker.containers import Container, Containers

TOOL = "tool.py"
START_TOOL = f"""
import os
for number in (0, 1):
    os.dup2(3, number)
os.closerange(3, 16)
with open("{APP}/{TOOL}") as file:
    source = file.read()
exec(compile(source, "{TOOL}", "exec"))
"""


class Tool:
    """One that runs in `container`. `reader` and `writer` are its standard output and input."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, container: Container, containers: Containers
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.on_end: Callable[[], object] = lambda: None
        self._container = container
        self._containers = containers

    @classmethod
    async def of(cls, container: Container, containers: Containers) -> Tool:
        """The program in `container`."""
        os.close(container.output)
        reader, writer = await asyncio.open_unix_connection(sock=container.channel)
        return cls(reader, writer, container, containers)

    async def end(self) -> None:
        """Ends it; nothing of it is left."""
        self.on_end()
        self.writer.close()
        await self._containers.end(self._container)
