"""The releases of one data directory: real repositories and database, functions in memory, and a server to stop."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from clowdy.hooks.syntax import SyntaxChild
from clowdy.runtimes.pool import Pool
from clowdy.schema.manifest import CheckSpec
from clowdy.server.config import Config
from clowdy.server.git.hook_messages import ProcReceive, Verdict
from clowdy.server.git.refnames import NULL
from clowdy.server.git.repos import Repositories, Repository
from clowdy.server.git.settings import GitSettings, find_binaries
from clowdy.server.releases.context import Context
from clowdy.server.releases.desk import Releases
from clowdy.server.releases.requirements import Requirements
from clowdy.server.releases.serving import Serving
from clowdy.server.store.engine import Store
from clowdy.server.store.projects import Project
from tests.runtimes.memory_driver import MemoryDriver
from tests.runtimes.memory_packages import MemoryPackages
from tests.server.clocks import Clock

MEBIBYTE = 1024 * 1024
HANDLER = "def handler(event):\n    return 1\n"


def files(text: str = "one", functions: tuple[str, ...] = ("hello",), more: str = "") -> dict[str, bytes]:
    """The files of a small project, all at its top."""
    lines = "".join(f"  {name}: {{handler: 'code.py:handler'}}\n" for name in functions)
    return {
        "clowdy.yaml": f"functions:\n{lines}routes:\n  GET /: {functions[0]}\n{more}".encode(),
        "code.py": f"# {text}\n{HANDLER}".encode(),
    }


@dataclass
class World:
    """One server over a data directory. `table` is what the gateway would serve."""

    context: Context
    releases: Releases
    driver: MemoryDriver
    packages: MemoryPackages
    clock: Clock
    table: dict[str, Serving]
    secrets: dict[str, str]
    faults: list[str]
    said: list[str] = field(default_factory=list)

    async def project(self, name: str = "shop") -> Project:
        return await self.releases.projects.find(name)

    async def repository(self, name: str = "shop") -> Repository:
        return self.context.repositories.open((await self.project(name)).id)

    async def push(
        self,
        refs: Mapping[str, str],
        name: str = "shop",
        *,
        who: str = "ana",
        options: tuple[str, ...] = (),
        atomic: bool = False,
        force: Mapping[str, str] | None = None,
    ) -> list[Verdict]:
        """What a client gets who pushes these objects (ids by ref); its lines are in `said`."""
        project = await self.project(name)
        repository = self.context.repositories.open(project.id)
        lines = tuple(((force or {}).get(ref) or repository.ref(ref) or NULL, new, ref) for ref, new in refs.items())
        lines = tuple((NULL if ref == "refs/heads/live" else old, new, ref) for old, new, ref in lines)
        push_id = self.releases.pushes.open(who, repository, project, None)
        self.releases.pushes._tickets[push_id].reported = True
        self.said = []

        async def say(line: str) -> None:
            self.said.append(line)

        try:
            call = ProcReceive(push_id, str(repository.path), lines, options, atomic)
            return await self.releases.pushes.proc_receive(call, say)
        finally:
            await self.releases.pushes.close(push_id)

    async def commit(
        self, content: Mapping[str, bytes], parents: tuple[str, ...] = (), subject: str = "A change", name: str = "shop"
    ) -> str:
        return (await self.repository(name)).write_commit(content, parents, f"{subject}\n", "ana", self.clock())

    async def deploy(self, text: str = "one", parents: tuple[str, ...] = (), name: str = "shop") -> str:
        """Pushes a commit with this text to main; its id."""
        commit = await self.commit(files(text), parents, text, name)
        (verdict,) = await self.push({"refs/heads/main": commit}, name)
        assert verdict.accepted, (verdict.reason, self.said)
        return commit


@asynccontextmanager
async def world(
    folder: Path, *, start: bool = True, driver: MemoryDriver | None = None, packages: MemoryPackages | None = None
) -> AsyncIterator[World]:
    """A server over the data directory `folder`; to open it again is to start it again."""
    folder.mkdir(exist_ok=True)
    git, setpriv = find_binaries()
    clock, table, secrets, faults = Clock(), dict[str, Serving](), dict[str, str](), list[str]()
    driver = driver or MemoryDriver()
    packages = packages or MemoryPackages()
    store = await Store.open(folder / "clowdy.db")
    repositories = Repositories(folder / "repos", GitSettings(git, setpriv, folder / "hooks"))
    pool = Pool(driver, budget_bytes=4096 * MEBIBYTE, standbys=0)
    await pool.open()

    async def check(serving: Serving, wanted: CheckSpec) -> str | None:
        return None

    async def values(project_id: str) -> Mapping[str, str]:
        return dict(secrets)

    async def nothing(*_: object) -> None:
        return None

    def publish(serving: Serving) -> None:
        table[serving.project.id] = serving

    async with SyntaxChild(sys.executable) as syntax:
        context = Context(
            config=Config(data_dir=folder, memory_budget_bytes=4096 * MEBIBYTE),
            store=store,
            repositories=repositories,
            pool=pool,
            requirements=Requirements(packages, clock),
            syntax=syntax,
            publish=publish,
            withdraw=lambda project_id: table.pop(project_id, None) and None,
            check=check,
            secret_values=values,
            adopt_secrets=nothing,
            redact=lambda _, text: text,
            forget_calls=nothing,
            urls=lambda project: [f"http://here/{project.name}/"],
            clock=clock,
            report=lambda what, error: faults.append(f"{what}: {error}"),
        )
        releases = Releases(context, frozenset({"www"}))
        if start:
            await releases.start()
        try:
            yield World(context, releases, driver, packages, clock, table, secrets, faults)
        finally:
            await releases.stop()
            await pool.close()
            repositories.close()
            await store.close()
