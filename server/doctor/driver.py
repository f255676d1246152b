"""What functions run in: whether they can, and what is kept from them."""

from __future__ import annotations

from collections.abc import Iterator

from clowdy.runtimes.api import Driver, Promise
from clowdy.runtimes.docker.driver import DockerDriver
from clowdy.runtimes.first import CURE, FirstDriver, in_use
from clowdy.runtimes.sandbox.driver import DELEGATE
from clowdy.server.doctor import engine
from clowdy.server.doctor.finding import Finding, State


def driver_findings(driver: Driver) -> Iterator[Finding]:
    """What an open driver keeps on this machine, one line for each promise."""
    isolates = bool(driver.promises)
    if driver.trouble is not None:
        yield cannot_run(driver.trouble)
    yield Finding(
        "runtime",
        State.OK if isolates else State.WARNING,
        f"{driver.name}, functions get Python {driver.python}",
        "" if isolates else "nothing isolates functions: for development only; apt-get install bubblewrap",
    )
    if isinstance(driver, FirstDriver):
        for name, error in driver.passed_over:
            reason, cure = _parts(str(error))
            yield Finding(name, State.OK, f"cannot run here: {reason}", cure)
    if not isolates:
        return
    yield _network(driver)
    for promise in Promise:
        if promise in driver.promises:
            yield Finding("limit", State.OK, promise.value)
        elif promise is Promise.OWN_USER:
            yield Finding("limit", State.OK, f"{promise.value}: not needed, the server has no rights of its own")
        elif promise not in (Promise.MEMORY_WATCHED, Promise.CLOSED_NETWORK):
            yield Finding("limit", State.WARNING, f"{promise.value}: does not hold here", _limit_cure(driver, promise))


def cannot_run(why: str) -> Finding:
    """That no function can run, from what a driver says of it."""
    reason, cure = _parts(why)
    return Finding("runtime", State.MISSING, reason, cure)


def _limit_cure(driver: Driver, promise: Promise) -> str:
    used = in_use(driver)
    if isinstance(used, DockerDriver):
        return engine.limit_cure(used.engine.facts, promise)
    return f"{DELEGATE}, or run the server as root"


def _network(driver: Driver) -> Finding:
    reason, cure = _parts(driver.no_network or "")
    if reason:
        return Finding("network", State.WARNING, f"network: true is refused: {reason}", cure)
    return Finding("network", State.OK, "network: true can be had")


def _parts(text: str) -> tuple[str, str]:
    reason, _, cure = text.partition(CURE)
    return reason.rstrip("."), cure
