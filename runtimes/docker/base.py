"""The image that everything else is built on: which one it is, and the Python in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path
from typing import Any

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.docker.container import NO_NETWORK, SERVER, maker_config
from clowdy.runtimes.docker.engine import Engine, Missing, Refused, raise_errors
from clowdy.runtimes.layers.threads import whole
from clowdy.runtimes.runner import OLDEST, Python

log = logging.getLogger(__name__)

USUAL = "python:3.12-slim"
LOCAL = "clowdy-base:local"
"""What `clowdy doctor --make-base-image` calls the one that it makes from this machine."""

_ASK = Path(__file__).with_name("base_worker.py").read_text()
_COMPILE = (Path(__file__).parents[1] / "layers" / "compile_worker.py").read_text()
_RUN_SECONDS = 300.0
_MADE = "clowdy.compiled"


@dataclass(frozen=True, slots=True)
class Base:
    """`name` as it was found, `id` of the image, `root` of the same with its standard library compiled."""

    name: str
    id: str
    root: str
    python: Python
    platform: str


async def find_base(
    engine: Engine,
    wanted: str | None,
    server: str,
    known: Base | None,
    make_local: Callable[[], Awaitable[str]],
    *,
    pulls: bool = True,
) -> Base:
    """The base image that `wanted` names, pulled if need be; without a name the local one, else the usual one.

    It is looked into unless it is the one that is `known`. A local one that was in use and is gone is made again by
    `make_local`. Raises DriverUnavailable with the cure.
    """
    name, image = await _find_image(engine, wanted, known, make_local, pulls=pulls)
    if known is not None and known.id == image["Id"] and await _is_there(engine, known.root):
        return known
    volumes = (image.get("Config") or {}).get("Volumes")
    if volumes:
        raise DriverUnavailable(
            f"the base image {name} declares volumes ({', '.join(sorted(volumes))}), in which functions could write. "
            "Cure: name another with CLOWDY_DOCKER_IMAGE"
        )
    identity = str(image["Id"])
    try:
        said = json.loads((await run(engine, identity, ["python3", "-I", "-S", "-c", _ASK], server)).splitlines()[-1])
        python = Python(str(said["executable"]), str(said["version"]), str(said["prefix"]))
        platform, compiled = str(said["platform"]), bool(said["compiled"])
        number = tuple(int(each) for each in said["number"])
    except (Refused, ValueError, LookupError, TypeError) as error:
        raise DriverUnavailable(
            f"the base image {name} has no python3 that runs: {error}. Cure: name another with CLOWDY_DOCKER_IMAGE"
        ) from None
    if number < OLDEST:
        raise DriverUnavailable(
            f"the base image {name} has Python {python.version}, and functions need 3.11 or later. "
            "Cure: name another with CLOWDY_DOCKER_IMAGE"
        )
    root = identity if compiled else await _compiled(engine, identity, python, str(said["folder"]), server)
    return Base(name, identity, root, python, platform)


async def _is_there(engine: Engine, image: str) -> bool:
    try:
        await engine.ask(lambda client: client.inspect_image(image))
    except Missing:
        return False
    return True


async def _find_image(
    engine: Engine, wanted: str | None, known: Base | None, make_local: Callable[[], Awaitable[str]], *, pulls: bool
) -> tuple[str, Mapping[str, Any]]:
    candidates = [(name, name) for name in ([wanted] if wanted else [LOCAL, USUAL])]
    if known is not None and known.name in (name for name, _ in candidates):
        # Its name was taken away, but what was built on it has kept it.
        candidates.append((known.name, known.id))
    for name, image in candidates:
        try:
            return name, await engine.ask(methodcaller("inspect_image", image))
        except Missing:
            continue
    if wanted is None and known is not None and known.name == LOCAL:
        made = await make_local()
        return LOCAL, await engine.ask(lambda client: client.inspect_image(made))
    name = wanted or USUAL
    local = "leave CLOWDY_DOCKER_IMAGE out after" if wanted else "choose"
    cure = (
        f"docker pull {name} where a registry can be reached, or {local} clowdy doctor --make-base-image, which makes "
        "one from this machine's Python"
    )
    if not pulls:
        raise DriverUnavailable(f"the base image {name} is not there; a server pulls it at its start. Cure: {cure}")
    log.info("pulling the base image %s", name)
    try:
        await engine.in_thread(lambda client: raise_errors(client.pull(name, stream=True, decode=True)))
        return name, await engine.ask(lambda client: client.inspect_image(name))
    except (Missing, Refused) as error:
        raise DriverUnavailable(
            f"the base image {name} is not there and cannot be pulled: {error}. Cure: {cure}", passing=True
        ) from None


async def _compiled(engine: Engine, identity: str, python: Python, folder: str, server: str) -> str:
    """The image with compiled files beside Python's own: without them each start of a function would compile them."""
    label = f"{_MADE}={identity}"
    found = await engine.ask(lambda client: client.images(filters={"label": label}))
    if found:
        return str(found[0]["Id"])
    log.info("compiling the standard library of the base image, once")
    program = [python.executable, "-I", "-S", "-W", "ignore", "-c", _COMPILE, folder, "2"]
    return await make(engine, identity, program, server, tag=base_tag(identity), label=label)


async def make(
    engine: Engine, image: str, program: Sequence[str], server: str, *, tag: str, label: str, archive: bytes = b""
) -> str:
    """The id of a new image: `image` with `archive` unpacked in it and `program` run; raises Refused where it fails."""
    async with _once(engine, maker_config(image, program, labels={SERVER: server}), server) as container:
        if archive:
            await engine.ask(lambda client: client.put_archive(container, "/", archive))
        await _run(engine, container)
        return await whole(commit(engine, container, server, tag, [label]))


async def run(
    engine: Engine,
    image: str,
    program: Sequence[str],
    server: str,
    *,
    network: str = NO_NETWORK,
    capabilities: Sequence[str] = (),
) -> str:
    """What `program` prints in a container that is gone afterwards; raises Refused where it fails."""
    config = maker_config(image, program, network=network, capabilities=capabilities, labels={SERVER: server})
    async with _once(engine, config, server) as container:
        return await _run(engine, container)


@contextlib.asynccontextmanager
async def _once(engine: Engine, config: Mapping[str, Any], server: str) -> AsyncIterator[str]:
    """A container by its name, which is gone afterwards; one that an engine which is down keeps, at the next start."""
    container = f"{repository(server)}-once-{secrets.token_hex(6)}"
    try:
        # By a name that is known before: what is begun when this is cancelled is removed as well.
        await whole(engine.ask(lambda client: client.create_container_from_config(config, name=container)))
        yield container
    finally:
        with contextlib.suppress(DriverUnavailable):
            await asyncio.shield(engine.remove(container))


async def commit(engine: Engine, container: str, server: str, tag: str, labels: Sequence[str]) -> str:
    """The id of a new image, one of `server`'s: what a container has become, and nothing of how it was made."""
    changes = [*(f"LABEL {label}" for label in labels), f"LABEL {SERVER}=", "CMD []", "ENTRYPOINT []", "USER 0:0"]
    made = await engine.in_thread(
        lambda client: client.commit(container, repository=repository(server), tag=tag, changes=changes)
    )
    return str(made["Id"])


async def _run(engine: Engine, container: str) -> str:
    await engine.ask(lambda client: client.start(container))
    deadline = asyncio.get_running_loop().time() + _RUN_SECONDS
    pause = 0.02
    while (state := (await engine.ask(lambda client: client.inspect_container(container)))["State"])["Running"]:
        if asyncio.get_running_loop().time() > deadline:
            raise Refused(f"it took longer than {_RUN_SECONDS:g} s")
        await asyncio.sleep(pause)
        pause = min(1.5 * pause, 0.5)
    said = await engine.ask(lambda client: client.logs(container, stderr=state["ExitCode"] != 0))
    text = said.decode(errors="replace") if isinstance(said, bytes) else ""
    if state["ExitCode"] != 0:
        raise Refused(f"it ended with status {state['ExitCode']}: {' '.join(text.split())[-300:]}")
    return text


def base_tag(identity: str) -> str:
    """What a base image with its library compiled is called."""
    return f"base-{identity.partition(':')[2][:24]}"


def repository(server: str) -> str:
    """What the images of a server are called: the engine counts its tags as references."""
    return f"clowdy-{server}"
