"""Who am I, and tokens."""

from __future__ import annotations

from clowdy.server.errors import Invalid, NotFound
from clowdy.server.people.auth import Right
from clowdy.server.people.tokens import Scope
from clowdy.server.store import projects
from clowdy.server.web import shapes
from clowdy.server.web.endpoints import PROJECT_NOT_FOUND, Asked, Table

table = Table()


@table.get("/api/me", Right.READ)
async def me(asked: Asked) -> object:
    """Who the token belongs to, and what it allows."""
    principal = asked.principal
    return {
        "name": principal.name,
        "scope": principal.scope.value,
        "project": await _project_name(asked, principal.project_id),
        "token_id": principal.token_id,
    }


@table.get("/api/tokens", Right.SERVER)
async def every(asked: Asked) -> object:
    """The tokens that work, newest first."""
    tokens = await asked.services.tokens.every()
    return [shapes.token(token, await _project_name(asked, token.project_id)) for token in tokens]


@table.post("/api/tokens", Right.SERVER)
async def create(asked: Asked) -> object:
    """Makes a token; its text is in this answer and nowhere else."""
    body = await asked.body()
    name = body.text("name", None) or body.text("user", None)
    if name is None:
        raise Invalid("name: field required")
    scope = _scope(body.text("scope", Scope.DEPLOY.value))
    project = None
    if (ref := body.text("project", None)) is not None:
        async with asked.services.store.reading() as connection:
            project = await projects.find(connection, ref)
        if project is None:
            raise NotFound(PROJECT_NOT_FOUND)
    token, text = await asked.services.tokens.create(name, scope, project.id if project else None, by=asked.who)
    return shapes.token(token, project.name if project else None) | {"token": text}


@table.delete("/api/tokens/{token}", Right.SERVER)
async def revoke(asked: Asked) -> object:
    """Ends a token at once."""
    await asked.services.tokens.revoke(asked.segment("token"), by=asked.who)
    return {"detail": "Token revoked"}


def _scope(text: str) -> Scope:
    try:
        return Scope(text)
    except ValueError:
        raise Invalid(f"scope: must be one of {', '.join(Scope)}") from None


async def _project_name(asked: Asked, project_id: str | None) -> str | None:
    if project_id is None:
        return None
    async with asked.services.store.reading() as connection:
        project = await projects.find(connection, project_id)
    return project.name if project else project_id
