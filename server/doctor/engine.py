"""The Docker Engine: the one that functions run in, or one that they could run in."""

from __future__ import annotations

from collections.abc import Mapping
from operator import methodcaller
from typing import Any

from clowdy.runtimes.api import Driver, DriverUnavailable, Promise
from clowdy.runtimes.docker.base import Base
from clowdy.runtimes.docker.driver import DockerDriver
from clowdy.runtimes.docker.engine import Engine, Facts
from clowdy.runtimes.first import CURE, in_use
from clowdy.schema.units import format_size
from clowdy.server.doctor.finding import Finding, State

LIVE_RESTORE = '"live-restore": true in /etc/docker/daemon.json, then systemctl reload docker'
_KERNEL = {
    Promise.MEMORY: "start the kernel with cgroup_enable=memory",
    Promise.CPU: "a kernel with CONFIG_CFS_BANDWIDTH",
    Promise.PROCESSES: "a kernel with CONFIG_CGROUP_PIDS",
}
_ROOTLESS = "with cgroup v2, Delegate=cpu memory pids for user@.service: an engine without root has what is delegated"
_NO_SOCKET = "there is no such socket"


async def of(driver: Driver) -> list[Finding]:
    """The engine and the base image of an open driver, or whether there is an engine that it does not use."""
    used = in_use(driver)
    if not isinstance(used, DockerDriver):
        return [await unused(f", not used: functions run in {used.name}")]
    facts = used.engine.facts
    findings = [Finding("docker", State.OK, describe(facts, used.engine.address))] if facts is not None else []
    if facts is not None and ends_functions(facts):
        found = "without live-restore a restart of the engine ends every running function"
        findings.append(Finding("docker", State.OK, found, LIVE_RESTORE))
    if used.images.known:
        findings.append(await _base_image(used.engine, used.images.base))
    # What a server that is not root may do about networks is known a moment after the start.
    await used.connections.known()
    return findings


async def unused(remark: str = "") -> Finding:
    """Whether there is an engine that answers; nothing is started on it."""
    engine = Engine()
    try:
        facts = await engine.open()
        return Finding("docker", State.OK, describe(facts, engine.address) + remark)
    except DriverUnavailable as error:
        reason = str(error).partition(CURE)[0].rstrip(".")
        if _NO_SOCKET in reason:
            reason = f"no engine at {engine.address}" + (" (none is needed)" if remark else "")
        return Finding("docker", State.OK, reason)
    finally:
        await engine.close()


def describe(facts: Facts, address: str) -> str:
    """An engine in one line."""
    version = f"Engine {facts.version} (API {facts.api[0]}.{facts.api[1]})"
    return ", ".join([version, *facts.components, facts.storage, f"cgroup v{facts.cgroups}"]) + f", at {address}"


def ends_functions(facts: Facts) -> bool:
    """Whether a restart of the engine ends its containers though it need not; in a swarm and without root it has to."""
    return not (facts.live_restore or facts.swarm or facts.rootless)


def limit_cure(facts: Facts | None, promise: Promise) -> str:
    """What makes an engine keep a limit that it does not keep."""
    return _ROOTLESS if facts is not None and facts.rootless else _KERNEL.get(promise, "docker info says what it lacks")


async def _base_image(engine: Engine, base: Base) -> Finding:
    found = f"{base.name}, {base.id.removeprefix('sha256:')[:12]}, Python {base.python.version}"
    try:
        image: Mapping[str, Any] = await engine.ask(methodcaller("inspect_image", base.id))
    except DriverUnavailable:
        # Of an engine that is down the runtime's own line says so.
        return Finding("base image", State.OK, found)
    return Finding("base image", State.OK, f"{found}, {format_size(int(image['Size']))}")
