"""`clowdy doctor --make-base-image`: an image for functions from this machine's Python."""

from __future__ import annotations

import asyncio
from operator import methodcaller
from typing import Any, TypedDict

from clowdy.schema.units import format_size
from clowdy.server.cli.failure import Failure
from clowdy.server.cli.output import say, say_json


class Made(TypedDict):
    """The image and the Python in it."""

    name: str
    id: str
    python: str
    executable: str
    size_bytes: int


def make_base_image() -> Made:
    """The image, made on the engine that DOCKER_HOST names or this machine has. Raises Failure with the cure."""
    from clowdy.runtimes.api import DriverUnavailable

    try:
        return asyncio.run(_make())
    except DriverUnavailable as error:
        raise Failure(str(error)) from None


async def _make() -> Made:
    from clowdy.runtimes.docker.base import LOCAL
    from clowdy.runtimes.docker.engine import Engine
    from clowdy.runtimes.docker.system_image import make
    from clowdy.runtimes.runner import find_python

    engine = Engine()
    try:
        await engine.open()
        # In an image every user can read it.
        python = await asyncio.to_thread(find_python, None, for_any_user=False)
        identity = await make(engine, python)
        image: dict[str, Any] = await engine.ask(methodcaller("inspect_image", identity))
    finally:
        await engine.close()
    return Made(
        name=LOCAL, id=identity, python=python.version, executable=python.executable, size_bytes=int(image["Size"])
    )


def show_made(made: Made, *, as_json: bool) -> None:
    """Prints what was made, and how a server comes to use it."""
    if as_json:
        say_json(made)
        return
    say(f"{made['name']} has Python {made['python']} ({made['executable']}), {format_size(made['size_bytes'])}.")
    say("A server with --runtime docker uses it, unless CLOWDY_DOCKER_IMAGE names another.")
