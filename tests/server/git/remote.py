"""A git remote on loopback, made of the server's own parts, and a real client of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from clowdy.schema.names import is_project
from clowdy.server.errors import ClowdyError, Invalid, NotAuthenticated, NotFound
from clowdy.server.git.hook_files import write_hooks
from clowdy.server.git.hook_messages import Move, PreReceive, ProcReceive, Verdict
from clowdy.server.git.hooks import Say
from clowdy.server.git.quarantine import judge
from clowdy.server.git.refnames import NULL
from clowdy.server.git.refs import RefUpdate, transaction
from clowdy.server.git.repos import Repositories, Repository, make_bare
from clowdy.server.git.settings import GitSettings
from clowdy.server.git.wire import GitWire, Service
from clowdy.server.ids import new_id
from clowdy.server.people.auth import token_of
from clowdy.server.people.tokens import Principal, Scope
from clowdy.server.web.git import GitEndpoint, Located, Ticket
from clowdy.server.web.middleware import translate

LIVE = "refs/heads/live"


def open_id(old: str) -> str | None:
    """An id as git says it, None for its zeros."""
    return None if old == NULL else old


class Remote:
    """Serves one folder of repositories; what pushes may do is decided by `verdict`, moves are real."""

    def __init__(self, folder: Path, settings: GitSettings, repositories: Repositories) -> None:
        self.folder = folder
        self.settings = settings
        self.repositories = repositories
        self.projects: dict[str, str] = {}
        self.judged: list[PreReceive] = []
        self.asked: list[ProcReceive] = []
        self.closed: list[str] = []
        self.opened: list[str] = []
        self.tickets: dict[str, Repository] = {}
        self.scope = Scope.ADMIN
        self.speak: Callable[[Say, ProcReceive], object] | None = None
        self.refusals: dict[str, str] = {}
        self.port = 0

    async def open(self) -> None:
        write_hooks(self.settings.hooks)
        make_bare(self.folder / "empty.git")
        self.wire = GitWire(self.settings, self.pre_receive, self.proc_receive, self.folder / "empty.git")
        endpoint = GitEndpoint(
            self.wire,
            authenticate=self.authenticate,
            locate=self.locate,
            open_push=self.open_push,
            close_push=self.close_push,
        )
        application = web.Application(middlewares=[translate])
        application.add_routes(endpoint.routes())
        self.runner = web.AppRunner(application, shutdown_timeout=1, auto_decompress=False)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.port = self.runner.addresses[0][1]

    async def close(self) -> None:
        await self.runner.cleanup()
        await self.wire.close(0.1)

    def url(self, project: str = "shop", token: str = "secret") -> str:
        return f"http://ana:{token}@127.0.0.1:{self.port}/git/{project}.git"

    def repository(self, project: str = "shop") -> Repository:
        return self.repositories.open(self.projects[project])

    async def authenticate(self, request: web.Request) -> Principal:
        if token_of(request.headers.get("Authorization"), basic=True) != "secret":
            raise NotAuthenticated
        return Principal("ana", self.scope, None, "0123456789ab")

    async def locate(self, principal: Principal, project: str, service: Service) -> Located:
        if not is_project(project):
            raise Invalid("not a name")
        project_id = self.projects.get(project)
        if project_id is None:
            if service is Service.PUSH and principal.scope is Scope.ADMIN:
                return Located(None)
            raise NotFound("Project not found")
        return Located(self.repositories.open(project_id), project_id)

    async def open_push(self, principal: Principal, project: str, located: Located) -> Ticket:
        if located.repository is None:
            self.projects[project] = new_id()
            repository = self.repositories.create(self.projects[project])
        else:
            repository = located.repository
        ticket = Ticket(new_id(), repository)
        self.tickets[ticket.push_id] = repository
        self.opened.append(ticket.push_id)
        return ticket

    async def close_push(self, push_id: str) -> None:
        self.closed.append(push_id)

    async def pre_receive(self, push: PreReceive, say: Say) -> bool:
        self.judged.append(push)
        reasons = await asyncio.to_thread(judge, self.tickets[push.push_id], push)
        for reason in reasons:
            await say(reason)
        return not reasons

    async def proc_receive(self, push: ProcReceive, say: Say) -> list[Verdict]:
        self.asked.append(push)
        if self.speak is not None:
            spoken = self.speak(say, push)
            if asyncio.iscoroutine(spoken):
                await spoken
        repository = self.tickets[push.push_id]
        return [await self._move(repository, old, new, ref) for old, new, ref in push.refs]

    async def _move(self, repository: Repository, old: str, new: str, ref: str) -> Verdict:
        if ref in self.refusals:
            return Verdict(ref, False, self.refusals[ref])
        moves: tuple[Move, ...] = ()
        if ref == LIVE:
            new = repository.peel(new).commit or NULL
            old = repository.ref(ref) or NULL
            moves = (Move(ref, old, new, forced=old != NULL and not repository.is_ancestor(old, new)),)
        try:
            await transaction(repository, [RefUpdate(ref, open_id(old), open_id(new))])
        except ClowdyError as error:
            return Verdict(ref, False, error.message)
        return Verdict(ref, True, moves=moves)


@dataclass(frozen=True)
class Said:
    """How a git command ended."""

    code: int
    text: str


class Client:
    """A person's repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    async def make(cls, folder: Path) -> Client:
        folder.mkdir(parents=True)
        client = cls(folder)
        await client.git("init", "-q", "-b", "main")
        return client

    async def start(self, *arguments: str, piped: bool = False) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            "git",
            *arguments,
            cwd=self.folder,
            start_new_session=True,
            stdin=asyncio.subprocess.PIPE if piped else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_TERMINAL_PROMPT": "0",
                "LC_ALL": "C",
                **{f"GIT_{role}_{part}": text for role in ("AUTHOR", "COMMITTER") for part, text in _PERSON.items()},
            },
        )

    async def git(self, *arguments: str, data: bytes = b"", code: int | None = 0) -> Said:
        process = await self.start(*arguments, piped=bool(data))
        output, _ = await process.communicate(data or None)
        assert process.returncode is not None
        said = Said(process.returncode, output.decode(errors="replace"))
        assert code is None or said.code == code, said
        return said

    async def commit(self, message: str = "A commit", **files: str) -> str:
        for name, text in files.items():
            (self.folder / f"{name}.py").write_text(text)
        await self.git("add", "-A")
        await self.git("commit", "-q", "--allow-empty", "-m", message)
        return (await self.git("rev-parse", "HEAD")).text.strip()

    async def push(self, url: str, *refs: str, options: Sequence[str] = (), code: int | None = 0) -> Said:
        return await self.git("push", *options, url, *(refs or ("main",)), code=code)


_PERSON = {"NAME": "Ana", "EMAIL": "ana@example.com", "DATE": "2026-01-02T03:04:05 +0000"}
