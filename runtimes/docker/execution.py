"""One more program in a container that runs: its output as it comes, and its exit status."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable

from clowdy.runtimes.docker.engine import Engine, EngineDown, Refused
from clowdy.runtimes.layers.recipe import Step

_HEADER = struct.Struct(">B3xI")
_SWITCHED = 101
_OK = 200
_PAUSE_SECONDS = 0.01
_ENDED_SECONDS = 10.0


async def execute(
    engine: Engine, container: str, step: Step, *, user: str, folder: str, on_data: Callable[[bytes], None]
) -> int:
    """Runs `step` to its end; its exit status. What it prints goes to `on_data` at once, on the event loop.

    A cancelled one is not ended: only its container can be.
    """
    made = await engine.ask(
        lambda client: client.exec_create(
            container, list(step.argv), environment=dict(step.env), user=user, workdir=folder
        )
    )
    execution = str(made["Id"])
    try:
        reader, writer = await asyncio.open_unix_connection(engine.address.removeprefix("unix://"))
    except OSError as error:
        raise EngineDown(f"the Docker Engine at {engine.address} does not answer: {error.strerror}") from None
    try:
        await _listen(execution, reader, writer, on_data)
    except (asyncio.IncompleteReadError, ConnectionError):
        # It has ended, or the engine: that is asked next.
        pass
    finally:
        writer.close()
    return await _status(engine, execution)


async def _listen(
    execution: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_data: Callable[[bytes], None]
) -> None:
    """Not through the SDK, which would wait in a thread that nothing could wake."""
    body = json.dumps({"Detach": False, "Tty": False})
    writer.write(
        f"POST /exec/{execution}/start HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n"
        f"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode(errors="replace")
    status = int(head.split()[1])
    if status not in (_SWITCHED, _OK):
        raise Refused(f"the Docker Engine refused: {(await reader.read(2000)).decode(errors='replace')}", status)
    while True:
        _, length = _HEADER.unpack(await reader.readexactly(_HEADER.size))
        on_data(await reader.readexactly(length))


async def _status(engine: Engine, execution: str) -> int:
    deadline = asyncio.get_running_loop().time() + _ENDED_SECONDS
    while True:
        found = await engine.ask(lambda client: client.exec_inspect(execution))
        if not found["Running"] and found["ExitCode"] is not None:
            return int(found["ExitCode"])
        if asyncio.get_running_loop().time() > deadline:
            raise Refused("a program in a container has ended, and the Docker Engine does not know how")
        await asyncio.sleep(_PAUSE_SECONDS)
