"""Secrets of a project: their names, never their values. One may be set before the project's first push."""

from __future__ import annotations

from clowdy.server.errors import Conflict, NotFound
from clowdy.server.people.auth import Right
from clowdy.server.people.secrets import before_project
from clowdy.server.web import shapes
from clowdy.server.web.endpoints import PROJECT_NOT_FOUND, Asked, Table

VALUE_CHARACTERS = 16 * 1024

table = Table()


@table.get("/api/projects/{project}/secrets", Right.READ)
async def every(asked: Asked) -> object:
    """The secrets that are set, or that the live release declares."""
    project_id = _place(asked)
    return shapes.secrets(
        await asked.services.secrets.every(project_id), asked.services.releases.declared_secrets(project_id)
    )


@table.put("/api/projects/{project}/secrets/{name}", Right.ADMIN)
async def put(asked: Asked) -> object:
    """Sets a value. Instances that have the old one are replaced at once; `replaced` says how many there were."""
    project_id, name = _place(asked), asked.segment("name")
    value = (await asked.body()).text("value", most=VALUE_CHARACTERS)
    await asked.services.secrets.set(project_id, name, value, by=asked.who)
    return {"name": name, "replaced": await _tell(asked, name)}


@table.delete("/api/projects/{project}/secrets/{name}", Right.ADMIN)
async def remove(asked: Asked) -> object:
    """Forgets a value; one that the live release declares only with `?force=1`."""
    project_id, name = _place(asked), asked.segment("name")
    if name in asked.services.releases.declared_secrets(project_id) and not asked.flag("force"):
        raise Conflict(f"what is live declares {name}, and cannot start again without it: use --force to remove it")
    await asked.services.secrets.remove(project_id, name, by=asked.who)
    return {"detail": f"Secret '{name}' removed", "name": name, "replaced": await _tell(asked, name)}


def _place(asked: Asked) -> str:
    try:
        return asked.project.id
    except NotFound:
        # Who may make the project may prepare it; to everybody else it is not there.
        if not asked.services.authorizer.may(asked.principal, Right.CREATE):
            raise NotFound(PROJECT_NOT_FOUND) from None
    return before_project(asked.segment("project"))


async def _tell(asked: Asked, name: str) -> int:
    try:
        project = asked.project
    except NotFound:
        return 0
    return await asked.services.releases.secret_changed(project, name, asked.who)
