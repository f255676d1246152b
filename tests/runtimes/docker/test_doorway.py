"""Who comes through the door, and what is handed out there."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from clowdy.runtimes.docker.doorway import Doorway


async def test_who_comes_gets_the_command_the_rules_and_the_descriptors(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    door = Doorway(deep)
    reading, writing = os.pipe()

    def visit() -> tuple[bytes, list[int]]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as visitor:
            # An address is short inside of the container, where the folder is /app.
            descriptor = os.open(deep, os.O_PATH)
            visitor.connect(f"/proc/self/fd/{descriptor}/.door")
            os.close(descriptor)
            said, descriptors, _, _ = socket.recv_fds(visitor, 65536, 3)
            return said, descriptors

    visited = asyncio.create_task(asyncio.to_thread(visit))
    assert await door.admit(("python", "-c", "1 + 1"), b"rules", (writing,)) == os.getpid()
    said, descriptors = await visited
    assert said == b"python\0-c\x001 + 1\0\0rules"
    os.write(descriptors[0], b"through")
    assert os.read(reading, 10) == b"through"
    assert list(deep.iterdir()) == []
    for each in (*descriptors, reading, writing):
        os.close(each)


async def test_a_door_that_nobody_came_to_leaves_nothing(tmp_path: Path) -> None:
    door = Doorway(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".door"]
    door.close()
    assert list(tmp_path.iterdir()) == []
