"""Where builds are made: what they need of this machine, found once, and their programs run there."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from functools import partial
from pathlib import Path

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.layers.api import BuildFailed, Say
from clowdy.runtimes.layers.box import Box, Job
from clowdy.runtimes.layers.index import Index
from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.layers.outcome import Judge, Outcome
from clowdy.runtimes.layers.sources import check_certificates, check_folders, private_addresses
from clowdy.runtimes.layers.store import BUILDS, LayerStore
from clowdy.runtimes.layers.threads import away
from clowdy.runtimes.layers.tools import find_uv
from clowdy.runtimes.layers.tree import delete
from clowdy.runtimes.layers.workshop import Isolation, Workshop, Wrap
from clowdy.runtimes.runner import Python, readable_by_all
from clowdy.runtimes.sandbox.cgroups import Groups, find_groups
from clowdy.runtimes.sandbox.command import find_system
from clowdy.runtimes.sandbox.identities import Identities, choose_build_identities
from clowdy.runtimes.sandbox.network import Policy, find_outside, outside_command
from clowdy.runtimes.sandbox.seccomp import build_filter
from clowdy.runtimes.sandbox.view import View, open_view
from clowdy.schema.text import printable

# How a command of `outside_command` ends when its network cannot be had; uv has no such status.
_NO_NETWORK = 125


class Apart(Enum):
    """How far builds are kept apart from this machine."""

    WHOLLY = "in bubblewrap, with a network of their own"
    PARTLY = "in bubblewrap where it works, with the server's network"


class Premises:
    """Makes workshops below the folder of all layers, and runs their jobs. It looks for what it needs at the first."""

    def __init__(
        self,
        folder: Path,
        run_dir: Path,
        store: LayerStore,
        python: Python,
        index: Index,
        apart: Apart,
        limits: BuildLimits,
    ) -> None:
        self._folder = folder
        self._run_dir = run_dir
        self._store = store
        self._python = python
        self._index = index
        self._apart = apart
        self._limits = limits
        self._turns = asyncio.Semaphore(limits.at_once)
        self._setting_up = asyncio.Lock()
        self._ready = False
        self._uv: Path
        self._shown: Path
        self._box: Box
        self._view: View | None = None
        self._groups: Groups | None = None
        self._identities: Identities | None = None
        self._isolation: Isolation | None = None

    @property
    def lacks(self) -> str | None:
        """How a build here is less isolated than it should be; None when it is not."""
        if self._isolation is None:
            return "packages are installed without isolation: bubblewrap does not work here"
        return "packages are installed with the server's own network" if self._apart is Apart.PARTLY else None

    def close(self) -> None:
        """Lets go of the machine, once no build is running."""
        self._ready = False
        groups, self._groups = self._groups, None
        if groups is not None:
            groups.close()
        view, self._view = self._view, None
        if view is not None:
            view.close(self._run_dir)

    @asynccontextmanager
    async def workshop(self, *, wanted: str, lock: str) -> AsyncIterator[Workshop]:
        """A scratch folder with what a build needs, which is gone afterwards."""
        async with self._turns:
            check_certificates(self._index)
            try:
                await self._set_up()
                if self._identities is not None:
                    check_folders(self._index, readable_by_all)
                wrap, resolvers = await self._network()
                async with self._scratch(wrap) as workshop:
                    await away(partial(workshop.prepare, wanted=wanted, lock=lock, resolvers=resolvers))
                    yield workshop
            except OSError as error:
                raise BuildFailed(f"the requirements cannot be installed here: {error.strerror or error}") from None

    @asynccontextmanager
    async def _scratch(self, wrap: Wrap | None) -> AsyncIterator[Workshop]:
        identities = self._identities
        uid = identities.take() if identities is not None else None
        try:
            scratch = self._store.scratch(uid)
            try:
                yield self._workshop_in(scratch, uid, wrap)
            finally:
                await asyncio.shield(away(partial(delete, scratch)))
        finally:
            if identities is not None and uid is not None:
                identities.give_back(uid)

    def _workshop_in(self, scratch: Path, uid: int | None, wrap: Wrap | None) -> Workshop:
        return Workshop(
            scratch=scratch,
            shown=self._shown / BUILDS / scratch.name,
            uv=self._uv,
            python=self._python,
            index=self._index,
            limits=self._limits,
            uid=uid,
            isolation=self._isolation,
            wrap=wrap,
        )

    async def _set_up(self) -> None:
        """Looks for all that builds need, once; raises DriverUnavailable."""
        async with self._setting_up:
            if not self._ready:
                await away(self._find)
                try:
                    await self._try()
                except DriverUnavailable:
                    if self._apart is Apart.WHOLLY:
                        raise
                    self._isolation = self._identities = None
                self._ready = True

    def _find(self) -> None:
        view = self._view = open_view(self._folder, self._run_dir, BUILDS.strip("."))
        passable = view.written == self._folder
        self._shown = view.shown if passable else self._folder
        if not passable and self._apart is Apart.WHOLLY:
            raise DriverUnavailable(
                f"{self._folder} lies where the users of builds cannot pass, and this process has no mounts of its "
                "own. Cure: --data-dir below a folder that all may pass"
            )
        bubblewrap = shutil.which("bwrap")
        if bubblewrap is None and self._apart is Apart.WHOLLY:
            raise DriverUnavailable("bubblewrap is not installed. Cure: apt-get install bubblewrap")
        self._identities = choose_build_identities(self._folder.parent) if passable else None
        found = find_uv(self._folder, for_any_user=self._identities is not None)
        self._uv = self._shown / found.name if found.parent == self._folder else found
        self._isolation = (
            Isolation(bubblewrap, find_system(self._python.prefix), build_filter()) if bubblewrap is not None else None
        )
        name = "clowdy-build-" + hashlib.sha256(os.fsencode(self._folder.resolve())).hexdigest()[:12]
        self._groups = find_groups(name)
        if self._groups is not None:
            self._groups.clear()
        self._box = Box(self._python.executable, self._limits, self._groups)

    async def _try(self) -> None:
        async with self._scratch(None) as workshop:
            await away(partial(workshop.prepare, wanted="", lock="", resolvers=""))
            outcome = await self._box.run(workshop.version(), lambda line: None)
        if outcome.stop is not None:
            raise Judge(self._index, self._limits).stopped(outcome.stop)
        if outcome.status != 0:
            raise _not_started(outcome)

    async def _network(self) -> tuple[Wrap | None, str]:
        """How a build gets its network, and what /etc/resolv.conf holds in it; raises DriverUnavailable."""
        if self._apart is Apart.PARTLY:
            return None, await away(_own_resolvers)
        if not self._index.needs_network:
            return None, ""
        if os.geteuid() == 0 and self._identities is None:
            raise DriverUnavailable("a server that runs as root needs user ids for builds, and has none to give here")
        outside = await away(partial(find_outside, self._python.executable))
        policy = Policy(allow_private=False, allowed=await private_addresses(self._index))
        return partial(outside_command, outside, policy), outside.resolver_file

    async def run(self, workshop: Workshop, job: Job, say: Say) -> None:
        """Runs one program of a build; raises BuildFailed with its reason."""
        judge = Judge(self._index, self._limits, workshop.scratch)
        outcome = await self._box.run(job, judge.progress(say))
        if outcome.stop is None and _did_not_start(outcome):
            raise _not_started(outcome)
        judge.check(outcome)


def _did_not_start(outcome: Outcome) -> bool:
    return outcome.status == _NO_NETWORK or any(line.startswith("bwrap: ") for line in outcome.lines)


def _not_started(outcome: Outcome) -> DriverUnavailable:
    said = printable(next(reversed(outcome.lines), "it ended without a word"), 300)
    return DriverUnavailable(
        f"isolated builds do not start: {said}. Cure: clowdy doctor says what the sandbox or its network lacks"
    )


def _own_resolvers() -> str:
    try:
        return Path("/etc/resolv.conf").read_text()
    except OSError:
        return ""
