"""The composition root: settings in, a serving process out. Every part is opened and closed here.

Start: lock, hooks written, parts opened, what serves is loaded and reconciled, self-test of the hooks, listen.
Stop: no new connections, pushes that have not begun to move refs refused, calls given their grace, parts closed in
the reverse order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from clowdy.hooks.syntax import SyntaxUnavailable
from clowdy.runtimes.api import Driver
from clowdy.runtimes.pool import Pool
from clowdy.schema.manifest import CheckSpec
from clowdy.server import runtime
from clowdy.server.config import Config
from clowdy.server.git.hook_files import write_hooks
from clowdy.server.git.maintenance import sweep
from clowdy.server.git.repos import Repositories
from clowdy.server.git.selftest import self_test
from clowdy.server.git.settings import GitSettings, find_binaries
from clowdy.server.git.wire import GitWire
from clowdy.server.listen import Listening, bind, listen
from clowdy.server.lock import DataLock
from clowdy.server.nightly import Nightly
from clowdy.server.parts import Parts
from clowdy.server.people.auth import Authorizer
from clowdy.server.people.keys import load_keyring
from clowdy.server.people.secrets import Secrets
from clowdy.server.people.tokens import Tokens
from clowdy.server.releases.context import Context
from clowdy.server.releases.desk import Releases
from clowdy.server.releases.requirements import Requirements
from clowdy.server.releases.serving import Serving
from clowdy.server.serve.checking import check
from clowdy.server.serve.exchange import Ledger
from clowdy.server.serve.gateway import Gateway
from clowdy.server.serve.hosts import Hosts, Proxies
from clowdy.server.serve.journal import Journal
from clowdy.server.serve.table import ProjectTable
from clowdy.server.store.engine import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Started:
    """What is known once the server listens. `unavailable` says why no function can run, and the cure; `notice`
    what the driver could do better, `second_choice` why it is not the one that comes first.
    """

    config: Config
    tokens: Tokens
    admin_token: str | None
    unavailable: str | None
    notice: str | None
    second_choice: str | None = None


Announce = Callable[[Started], Awaitable[None]]


def run(config: Config, announce: Announce) -> int:
    """Serves until SIGTERM or SIGINT; the exit status. Raises StartError when it cannot serve at all."""
    with DataLock.acquire(config.data_dir) as lock:
        # Before any thread exists: mounts are private to the thread that asks for them and those it starts.
        runtime.prepare_process(config)
        with asyncio.Runner(loop_factory=runtime.event_loop_factory()) as runner:
            return runner.run(_serve(config, lock, announce))


def rebuild_records(config: Config, project: str | None = None) -> list[str]:
    """Writes the records of projects and releases anew from git while no server runs; one line for each project."""

    async def rebuild(lock: DataLock) -> list[str]:
        async with open_parts(config, lock) as parts:
            return await parts.releases.rebuild(project)

    with DataLock.acquire(config.data_dir) as lock:
        runtime.prepare_process(config)
        return asyncio.run(rebuild(lock))


async def _serve(config: Config, lock: DataLock, announce: Announce) -> int:
    stopping = _stop_signals()
    # The address first: who has it already is to be told before anything is loaded.
    with bind(config) as bound:
        config = config.bound_to(bound.getsockname()[1])
        async with open_parts(config, lock) as parts, listen(parts, bound) as listening:
            await announce(_started(parts))
            await stopping.wait()
            await _stop(parts, listening)
    return 0


def _started(parts: Parts) -> Started:
    unavailable = parts.pool.unavailable
    return Started(
        parts.config,
        parts.tokens,
        parts.admin_token,
        str(unavailable) if unavailable else None,
        parts.pool.driver.notice if unavailable is None else None,
        runtime.second_choice(parts.pool.driver),
    )


@contextlib.asynccontextmanager
async def open_parts(config: Config, lock: DataLock) -> AsyncIterator[Parts]:
    """Everything that is needed to serve, loaded and reconciled."""
    async with contextlib.AsyncExitStack() as stack:
        store = await Store.open(config.database)
        stack.push_async_callback(store.close)
        tokens = Tokens(store)
        admin_token = await tokens.open(config.admin_token)
        stack.push_async_callback(tokens.close)
        authorizer = Authorizer(tokens)
        secrets = Secrets(store, load_keyring(config.data_dir, config.secret_key))
        await secrets.open()
        journal = await Journal.open(config.data_dir, redact=secrets.redact, mask_of=secrets.mask_of, apart=True)
        stack.push_async_callback(journal.close)
        driver = runtime.make_driver(config)
        packages = await stack.enter_async_context(runtime.open_packages(config, driver))
        loaded = asyncio.Event()

        async def on_available() -> None:
            # It may come while what serves is still being loaded.
            await loaded.wait()
            log.info("functions can run: %s, Python %s", driver.name, driver.python)
            # The next one is of the Python that there is now.
            await syntax.close()
            await _move_in(config, driver, releases)
            # Nobody could say before what is installed for the Python that there is now.
            await releases.bring_back()

        pool = Pool(
            driver,
            budget_bytes=config.memory_budget_bytes,
            standbys=config.standbys,
            idle_seconds=config.idle_seconds,
            wait_seconds=config.wait_seconds,
            waiters=config.waiters,
            on_available=on_available,
        )
        await pool.open()
        available = pool.unavailable is None
        stack.push_async_callback(pool.close)
        syntax = runtime.syntax_child(driver)
        stack.push_async_callback(syntax.close)
        try:
            await syntax.open()
        except SyntaxUnavailable as error:
            # The first push asks again, and is told.
            log.warning("%s", error)
        git, setpriv = find_binaries()
        hooks_dir = config.data_dir / "hooks"
        write_hooks(hooks_dir)
        settings = GitSettings(git, setpriv, hooks_dir, limits=config.push, lock_fd=lock.descriptor)
        repositories = Repositories(config.data_dir / "repos", settings)
        stack.callback(repositories.close)
        repositories.clear()
        for project_id in repositories.every():
            for line in sweep(repositories.path(project_id)):
                log.info("%s: %s", project_id, line)
        hosts = Hosts(config.base_domain, config.public_host)

        def make_gateway(keep: Ledger) -> Gateway:
            return Gateway(
                pool,
                keep,
                hosts,
                is_own_token=authorizer.is_own_token,
                may_read_logs=authorizer.may_read_logs,
                redact=secrets.redact,
                proxies=Proxies(config.trust_proxy),
                body_limit=config.body_limit_bytes,
            )

        gateway = make_gateway(journal.extend)
        # A check is no call of anybody: it leaves no record.
        checking = make_gateway(lambda calls: None)

        async def run_check(serving: Serving, wanted: CheckSpec) -> str | None:
            return await check(
                checking, _table(serving, candidate=True), wanted, partial(secrets.redact, serving.project.id)
            )

        context = Context(
            config=config,
            store=store,
            repositories=repositories,
            pool=pool,
            requirements=Requirements(packages, time.time),
            syntax=syntax,
            publish=lambda serving: gateway.publish(_table(serving), (serving.project.name, *serving.project.aliases)),
            withdraw=gateway.withdraw,
            announce=lambda project: gateway.publish(
                ProjectTable(project.id, project.name, None), (project.name, *project.aliases)
            ),
            check=run_check,
            secret_values=secrets.values,
            adopt_secrets=secrets.adopt,
            redact=secrets.redact,
            forget_calls=journal.remove_project,
            report=lambda what, error: log.error("%s: %s", what, error, exc_info=error),
            urls=lambda project: (f"{config.project_url(project.name)}/",),
            clock=time.time,
        )
        releases = Releases(context, config.reserved_names)
        wire = GitWire(settings, releases.pushes.pre_receive, releases.pushes.proc_receive, repositories.empty())
        stack.push_async_callback(wire.close)
        await self_test(wire, config.data_dir / "scratch")
        for reconciled in await releases.start():
            for line in reconciled.lines:
                log.warning("%s: %s", reconciled.project.name, line)
        if available:
            await _move_in(config, driver, releases)
        loaded.set()
        stack.push_async_callback(releases.stop)
        nightly = Nightly(releases, journal)
        nightly.start()
        stack.callback(nightly.stop)
        yield Parts(
            config,
            lock,
            store,
            tokens,
            authorizer,
            secrets,
            repositories,
            wire,
            pool,
            journal,
            gateway,
            releases,
            admin_token,
        )


async def _move_in(config: Config, driver: Driver, releases: Releases) -> None:
    """Prepares what serves for an open driver that did not run it before, and records that this one does."""
    if runtime.changed(config, driver):
        for line in await releases.renew():
            log.warning("%s", line)
    runtime.note(config, driver)


async def _stop(parts: Parts, listening: Listening) -> None:
    """No new connections; pushes end or are refused; calls get their grace."""
    log.info("stopping")
    loop = asyncio.get_running_loop()
    # Whoever asks a second time does not want to wait for the grace of the first.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, os._exit, 0)
    await listening.refuse_new()
    await parts.releases.pushes.stop()
    await listening.finish(parts.config.grace_seconds)


def _stop_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


def _table(serving: Serving, *, candidate: bool = False) -> ProjectTable:
    return ProjectTable.of(
        serving.project.id,
        serving.project.name,
        serving.record,
        serving.manifest,
        serving.applications,
        serving.problems,
        candidate=candidate,
    )
