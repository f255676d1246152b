"""Projects: listed, made by hand, described, renamed, deleted, brought back."""

from __future__ import annotations

from typing import Any

from clowdy.server.errors import Conflict, Invalid, NotFound
from clowdy.server.people.auth import Right
from clowdy.server.store import history, projects
from clowdy.server.store.projects import Project
from clowdy.server.web import shapes
from clowdy.server.web.endpoints import PROJECT_NOT_FOUND, Asked, Table
from clowdy.server.web.slugs import free_slug, slug

table = Table()


@table.get("/api/projects", Right.READ)
async def every(asked: Asked) -> object:
    """The projects that the caller may see, newest first; `?deleted=1` those that can be restored."""
    async with asked.services.store.reading() as connection:
        found = await projects.every(connection, deleted=asked.flag("deleted"))
    return [await shown(asked, project) for project in found if _sees(asked, project)]


@table.post("/api/projects", Right.CREATE)
async def create(asked: Asked) -> object:
    """Makes a project without a commit; its name in URLs is made of `name`."""
    body = await asked.body()
    display_name = _display_name(body.text("name", most=200))
    description = body.text("description", "", most=2_000)
    name = await _free(asked, display_name)
    project = await asked.services.releases.projects.create(
        name, asked.who, display_name=display_name, description=description
    )
    return await shown(asked, project)


@table.get("/api/projects/{project}", Right.READ)
async def show(asked: Asked) -> object:
    """One project, with what serves it."""
    return await shown(asked, asked.project)


@table.put("/api/projects/{project}", Right.ADMIN)
async def change(asked: Asked) -> object:
    """Changes what is sent: `name` (and with it the name in URLs), `slug`, `display_name`, `description`."""
    body, project, desk = await asked.body(), asked.project, asked.services.releases.projects
    title = body.text("name", None, most=200)
    display_name = body.text("display_name", title, most=200)
    description = body.text("description", None, most=2_000)
    exact = body.text("slug", None, most=200)
    wanted = exact or (None if title is None else await _free(asked, _display_name(title), project))
    if wanted is not None and wanted != project.name:
        project = await desk.rename(project, wanted, asked.who)
        await asked.services.releases.renamed(project)
    if display_name is not None or description is not None:
        project = await desk.describe(
            project,
            asked.who,
            display_name=project.display_name if display_name is None else _display_name(display_name),
            description=project.description if description is None else description,
        )
    return await shown(asked, project)


@table.delete("/api/projects/{project}", Right.ADMIN)
async def delete(asked: Asked) -> object:
    """Takes a project down at once; `?confirm=NAME` must be its name. It is kept for 30 days."""
    project = asked.project
    if asked.request.query.get("confirm") != project.name:
        raise Invalid(f"to delete this project, send its name: ?confirm={project.name}")
    await asked.services.releases.projects.delete(project, asked.who)
    return {"detail": "Project deleted"}


@table.post("/api/projects/{deleted}/restore", Right.READ)
async def restore(asked: Asked) -> object:
    """Brings a deleted project back, for a token of scope admin."""
    ref = asked.segment("deleted")
    async with asked.services.store.reading() as connection:
        project = await projects.find(connection, ref, deleted=True)
        existing = await projects.find(connection, ref)
    if project is None:
        if existing is not None and _sees(asked, existing):
            raise Conflict(f"{existing.name} is not deleted")
        raise NotFound(PROJECT_NOT_FOUND)
    asked.services.authorizer.authorize(asked.principal, Right.ADMIN, project.id)
    restored = await asked.services.releases.projects.restore(ref, asked.who)
    await asked.services.releases.restored(restored)
    return await shown(asked, restored)


@table.get("/api/projects/{project}/requirements", Right.READ)
async def requirements(asked: Asked) -> object:
    """What the live release wants installed, one requirement a line, and the digest of its lock."""
    desk, project = asked.services.releases, asked.project
    return shapes.requirements(desk.live(project.id), await desk.requirements(project.id))


@table.get("/api/projects/{project}/history", Right.READ)
async def past(asked: Asked) -> object:
    """Every time that something went live, newest first."""
    async with asked.services.store.reading() as connection:
        entries = await history.every(connection, asked.project.id, asked.number("limit", 50))
    return [shapes.entry(entry) for entry in entries]


async def shown(asked: Asked, project: Project) -> dict[str, Any]:
    """The project as the API answers it."""
    async with asked.services.store.reading() as connection:
        last = await history.last(connection, project.id)
    desk = asked.services.releases
    wanted = await desk.requirements(project.id)
    return shapes.project(asked.services.config, project, desk.live(project.id), last, wanted)


def _sees(asked: Asked, project: Project) -> bool:
    return asked.services.authorizer.sees(asked.principal, project.id)


def _display_name(text: str) -> str:
    if not text.strip():
        raise Invalid("name: must not be empty")
    return text.strip()


async def _free(asked: Asked, display_name: str, project: Project | None = None) -> str:
    if project is not None and slug(display_name) == project.name:
        return project.name
    async with asked.services.store.reading() as connection:
        taken = {other.name for other in await projects.every(connection) if other != project}
    reserved = asked.services.config.reserved_names
    return free_slug(display_name, lambda name: name not in taken and name not in reserved)
