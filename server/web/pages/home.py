"""The first page: what is live in each project, and the commands to begin with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp import web

from clowdy.schema.text import printable
from clowdy.server.people.auth import Right
from clowdy.server.store import history
from clowdy.server.store.history import Entry
from clowdy.server.store.projects import Project
from clowdy.server.web.endpoints import client_of
from clowdy.server.web.pages.templates import render
from clowdy.server.web.services import Services

if TYPE_CHECKING:
    from clowdy.server.releases.serving import Serving


@dataclass(frozen=True, slots=True)
class RouteLine:
    """One route: what is asked, and which function answers."""

    method: str
    path: str
    function: str


@dataclass(frozen=True, slots=True)
class LiveProject:
    """A project and what serves it; `tag` is empty when nothing does. `problems` are of functions that cannot start."""

    name: str
    title: str
    url: str
    tag: str = ""
    commit: str = ""
    since: str = ""
    since_iso: str = ""
    who: str = ""
    how: str = ""
    routes: tuple[RouteLine, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HomeContext:
    """What the page shows: `commands` take a new user from nothing to a live function."""

    version: str
    who: str
    projects: Sequence[LiveProject]
    commands: Sequence[str]


def page(services: Services) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The handler of `/`: a token is its password, of any user."""

    async def handle(request: web.Request) -> web.StreamResponse:
        principal = await services.authorizer.identify(
            request.headers.get("Authorization"), address=client_of(request, services)
        )
        if principal.project_id is None:
            services.authorizer.authorize(principal, Right.READ)
        shown = []
        for project in await services.releases.projects.every():
            if services.authorizer.sees(principal, project.id):
                async with services.store.reading() as connection:
                    last = await history.last(connection, project.id)
                shown.append(_project(services, project, last))
        return render(
            "home", HomeContext(services.version, principal.name, shown, commands(services.config.public_url))
        )

    return handle


def commands(url: str) -> tuple[str, ...]:
    """From nothing to a live function."""
    return ("clowdy init hello", "cd hello", "git push clowdy main", f"curl {url}/api/gateway/hello/")


def _project(services: Services, project: Project, last: Entry | None) -> LiveProject:
    url = f"{services.config.project_url(project.name)}/"
    serving: Serving | None = services.releases.live(project.id)
    title = printable(project.display_name, 200)
    if serving is None:
        return LiveProject(project.name, title, url)
    since = datetime.fromtimestamp(last.at if last else serving.record.when, UTC)
    return LiveProject(
        name=project.name,
        title=title,
        url=url,
        tag=serving.record.tag,
        commit=serving.record.commit[:7],
        since=since.strftime("%Y-%m-%d %H:%M UTC"),
        since_iso=since.isoformat(timespec="seconds"),
        who=printable(last.who if last else serving.record.who, 100),
        how=last.how if last else serving.record.how,
        routes=tuple(RouteLine(route.method, route.path, route.function) for route in serving.manifest.routes),
        problems=tuple(f"{name}: {printable(text, 300)}" for name, text in sorted(serving.problems.items())),
    )
