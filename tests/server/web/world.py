"""A server without git and functions behind its API: a real store, real tokens and secrets, small real stand-ins."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from aiohttp.test_utils import TestClient, TestServer

from clowdy.schema.manifest import FunctionSpec, Manifest, RouteSpec
from clowdy.schema.release import FunctionVersion, ReleaseRecord
from clowdy.server.config import Config
from clowdy.server.errors import Conflict, Invalid, NotFound
from clowdy.server.people.auth import Authorizer
from clowdy.server.people.keys import Keyring
from clowdy.server.people.secrets import Secrets
from clowdy.server.people.tokens import Scope, Tokens
from clowdy.server.releases.serving import Serving
from clowdy.server.store import functions, history, projects, pushes, releases
from clowdy.server.store.engine import Store
from clowdy.server.store.functions import Function
from clowdy.server.store.history import Entry
from clowdy.server.store.projects import Project
from clowdy.server.store.pushes import Push
from clowdy.server.store.releases import Release, State
from clowdy.server.web.app import make_application
from clowdy.server.web.services import CallFilter, CallTotals, Missed, Services
from tests.server.databases import open_store

ADMIN = "the preset admin token"
SHOP = Project("0123456789ab", "shop", "The Shop", "", "ana", "refs/heads/main", (), 100.0)
OTHER = Project("ba9876543210", "other", "other", "", "ben", None, ("before",), 50.0)
HELLO = "aaaaaaaaaaaa"
COMMIT = "c" * 40


@dataclass
class Desk:
    """Projects as rows alone."""

    store: Store
    made: int = 0

    async def every(self, *, deleted: bool = False) -> list[Project]:
        async with self.store.reading() as connection:
            return await projects.every(connection, deleted=deleted)

    async def create(self, name: str, owner: str, *, display_name: str = "", description: str = "") -> Project:
        self.made += 1
        project = Project(f"{self.made:012x}", name, display_name or name, description, owner, None, (), 200.0)
        async with self.store.writing() as connection:
            await projects.add(connection, project)
        return project

    async def describe(self, project: Project, who: str, *, display_name: str, description: str) -> Project:
        return await self._save(replace(project, display_name=display_name, description=description))

    async def rename(self, project: Project, name: str, who: str) -> Project:
        async with self.store.reading() as connection:
            if (found := await projects.find(connection, name)) is not None and found.id != project.id:
                raise Conflict(f"there is a project {name} already")
        return await self._save(replace(project, name=name, aliases=(project.name, *project.aliases)))

    async def delete(self, project: Project, who: str) -> None:
        await self._save(replace(project, deleted_at=300.0))

    async def restore(self, ref: str, who: str) -> Project:
        async with self.store.reading() as connection:
            project = await projects.find(connection, ref, deleted=True)
        if project is None:
            raise NotFound("no deleted project")
        return await self._save(replace(project, deleted_at=None))

    async def _save(self, project: Project) -> Project:
        async with self.store.writing() as connection:
            await projects.save(connection, project)
        return project


@dataclass
class Facade:
    """Releases as values; what it was asked for is in `asked`."""

    projects: Desk
    servings: dict[str, Serving] = field(default_factory=dict)
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def live(self, project_id: str) -> Serving | None:
        return self.servings.get(project_id)

    async def requirements(self, project_id: str) -> str:
        return "httpx" if project_id in self.servings else ""

    def declared_secrets(self, project_id: str) -> frozenset[str]:
        serving = self.servings.get(project_id)
        return serving.manifest.secret_names if serving else frozenset()

    async def secret_changed(self, project: Project, name: str, who: str) -> int:
        self.asked.append(("secret", project.id, name, who))
        return 1

    async def rollback(self, project: Project, to: str | None, who: str, why: str = "") -> Any:
        self.asked.append(("rollback", project.id, to, who, why))
        if to == "deploy/9":
            raise Invalid("deploy/9 was never live")
        return SimpleNamespace(release=1, commit=COMMIT, before=2, lines=("live: deploy/1",))

    async def cancel(self, project: Project, push_id: str | None, who: str) -> Push:
        self.asked.append(("cancel", project.id, push_id, who))
        raise NotFound("no push is running in this project")

    async def renamed(self, project: Project) -> None:
        self.asked.append(("renamed", project.name))

    async def restored(self, project: Project) -> None:
        self.asked.append(("restored", project.name))

    async def rebuild(self, ref: str | None = None) -> list[str]:
        self.asked.append(("rebuild", ref))
        return ["shop: 1 release"]


class Calls:
    """Calls in a list, newest first."""

    def __init__(self) -> None:
        self.logged: list[dict[str, Any]] = []
        self.wanted: list[CallFilter] = []
        self.coming: asyncio.Queue[Mapping[str, Any] | Missed | None] = asyncio.Queue()

    async def every(self, wanted: CallFilter) -> Sequence[Mapping[str, Any]]:
        self.wanted.append(wanted)
        return [
            call
            for call in self.logged
            if call["project_id"] == wanted.project_id and wanted.function_id in {None, call["function_id"]}
        ]

    async def find(self, call_id: str) -> Mapping[str, Any] | None:
        return next((call for call in self.logged if call["id"] == call_id), None)

    @asynccontextmanager
    async def follow(
        self, project_id: str, function_id: str | None
    ) -> AsyncIterator[AsyncIterator[Mapping[str, Any] | Missed]]:
        async def calls() -> AsyncIterator[Mapping[str, Any] | Missed]:
            while (call := await self.coming.get()) is not None:
                yield call

        yield calls()

    async def totals(self, project_ids: Sequence[str]) -> CallTotals:
        kept = [call for call in self.logged if call["project_id"] in project_ids]
        return CallTotals(len(kept), sum(call["status"] == "success" for call in kept), 10.0 * len(kept))


class Repositories:
    """Commits without trees."""

    def open(self, project_id: str) -> Any:
        return SimpleNamespace(
            commit=lambda oid: SimpleNamespace(subject="Say hello", tree="t"),
            tree=lambda oid: SimpleNamespace(
                entry=lambda path: path, read=lambda entry, limit: b"def handler(event):\n    return 1\n"
            ),
        )


@dataclass
class World:
    """What tests ask: `get`, `post` and so on as the admin, or with another token."""

    store: Store
    tokens: Tokens
    secrets: Secrets
    releases: Facade
    calls: Calls
    services: Services
    client: TestClient[Any, Any]

    async def token(self, scope: Scope, project: Project | None = None) -> str:
        """A new token of this scope."""
        _, text = await self.tokens.create(f"{scope} token", scope, project.id if project else None)
        return text

    async def ask(
        self, method: str, path: str, *, token: str | None = ADMIN, content: Any = None, **options: Any
    ) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.client.request(method, path, json=content, headers=headers, **options) as response:
            return response.status, await response.json()


@asynccontextmanager
async def make_world(tmp_path: Path) -> AsyncIterator[World]:
    """A world with two projects, one of which serves a release."""
    store = await open_store(tmp_path / "clowdy.db")
    tokens = Tokens(store)
    await tokens.open(ADMIN)
    secrets = Secrets(store, Keyring([b"k" * 32]))
    facade, calls = Facade(Desk(store)), Calls()
    await _fill(store, facade)
    services = Services(
        config=Config.load({"data_dir": str(tmp_path)}, {}),
        store=store,
        tokens=tokens,
        authorizer=Authorizer(tokens),
        secrets=secrets,
        releases=cast("Any", facade),
        repositories=cast("Any", Repositories()),
        calls=calls,
        doctor=_doctor,
        client=lambda peer, headers: peer,
        version="0.1.0",
    )
    async with TestClient(TestServer(make_application(services))) as client:
        yield World(store, tokens, secrets, facade, calls, services, client)
    await tokens.close()
    await store.close()


async def _doctor() -> Mapping[str, Any]:
    return {"findings": []}


async def _fill(store: Store, facade: Facade) -> None:
    manifest = Manifest(
        functions={
            "hello": FunctionSpec("hello", "hello.py", description="Says hello", secrets=frozenset({"API_KEY"}))
        },
        routes=(RouteSpec("GET", "/users", "hello"), RouteSpec("ANY", "/", "hello")),
        secrets=frozenset({"API_KEY"}),
    )
    version = FunctionVersion(HELLO, "hello", 3, "d" * 64)
    record = ReleaseRecord(1, COMMIT, {"hello": version}, None, "ana", "push", 150)
    facade.servings[SHOP.id] = Serving(SHOP, record, "t" * 40, manifest, {}, {})
    async with store.writing() as connection:
        await projects.add(connection, SHOP)
        await projects.add(connection, OTHER)
        await functions.save(connection, Function(HELLO, SHOP.id, "hello", 3, 140.0))
        await releases.add(
            connection, Release(SHOP.id, 1, State.DONE, "t" * 40, COMMIT, record, '{"rows":[]}', 12.34, 150.0)
        )
        await history.add(connection, Entry(SHOP.id, 1, 1, None, "ana", "push", "", 151.0))
        await pushes.add(connection, push("live00000000", pushes.State.LIVE, 1, 150.0))
        await pushes.add(connection, push("refused00000", pushes.State.REFUSED, None, 160.0))


def push(push_id: str, state: pushes.State, release: int | None, at: float) -> Push:
    """A push of one ref to the shop."""
    refs = (("0" * 40, COMMIT, "refs/heads/main"),)
    return Push(push_id, SHOP.id, "shop", "ana", refs, (), state, "", release, at, at + 1, "what it said\n")


def basic(user: str, password: str) -> dict[str, str]:
    """The header of somebody who typed user and password."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
