"""Functions and routes of what is live."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from clowdy.schema.manifest import FunctionSpec
from clowdy.server.errors import ClowdyError, NotFound
from clowdy.server.people.auth import Right
from clowdy.server.store import functions as stored
from clowdy.server.web import shapes
from clowdy.server.web.endpoints import Asked, Table

if TYPE_CHECKING:
    from clowdy.server.releases.serving import Serving

CODE_LIMIT_BYTES = 1024 * 1024
FUNCTION_NOT_FOUND = "Function not found"

table = Table()


@table.get("/api/projects/{project}/functions", Right.READ)
async def every(asked: Asked) -> object:
    """The functions of the project's live release, newest first."""
    serving = asked.services.releases.live(asked.project.id)
    return [] if serving is None else await _shown(asked, serving)


@table.get("/api/functions", Right.READ)
async def everywhere(asked: Asked) -> object:
    """The functions of every project that the caller may see, newest first."""
    shown: list[dict[str, Any]] = []
    for project in await asked.services.releases.projects.every():
        serving = asked.services.releases.live(project.id)
        if serving is not None and asked.services.authorizer.sees(asked.principal, project.id):
            shown += await _shown(asked, serving)
    return sorted(shown, key=lambda item: item["created_at"], reverse=True)


@table.get("/api/functions/{function}", Right.READ)
async def show(asked: Asked) -> object:
    """One function of a live release, with the code of its handler's file."""
    serving, spec = await find_live(asked, asked.segment("function"))
    async with asked.services.store.reading() as connection:
        found = await stored.find(connection, serving.record.functions[spec.name].function_id)
    code = await asyncio.to_thread(_code, asked, serving, spec)
    return shapes.function(asked.services.config, serving, spec, found, code)


@table.get("/api/projects/{project}/routes", Right.READ)
async def routes(asked: Asked) -> object:
    """The routes of the project's live release, by path and method."""
    serving = asked.services.releases.live(asked.project.id)
    if serving is None:
        return []
    ordered = sorted(serving.manifest.routes, key=lambda route: (route.path, route.method))
    return [shapes.route(asked.services.config, serving, route) for route in ordered]


async def find_live(asked: Asked, function_id: str) -> tuple[Serving, FunctionSpec]:
    """The function with this id and what serves it; raises NotFound for one that is not live, or not the caller's."""
    async with asked.services.store.reading() as connection:
        found = await stored.find(connection, function_id)
    if found is not None and asked.services.authorizer.sees(asked.principal, found.project_id):
        serving = asked.services.releases.live(found.project_id)
        spec = serving.manifest.functions.get(found.name) if serving else None
        if serving is not None and spec is not None and found.name in serving.record.functions:
            return serving, spec
    raise NotFound(FUNCTION_NOT_FOUND)


async def _shown(asked: Asked, serving: Serving) -> list[dict[str, Any]]:
    async with asked.services.store.reading() as connection:
        rows = {row.name: row for row in await stored.every(connection, serving.project.id)}
    specs = [spec for name, spec in serving.manifest.functions.items() if name in serving.record.functions]
    codes = await asyncio.to_thread(lambda: [_code(asked, serving, spec) for spec in specs])
    shown = [
        shapes.function(asked.services.config, serving, spec, rows.get(spec.name), code)
        for spec, code in zip(specs, codes, strict=True)
    ]
    return sorted(shown, key=lambda item: item["created_at"], reverse=True)


def _code(asked: Asked, serving: Serving, spec: FunctionSpec) -> str:
    try:
        repository = asked.services.repositories.open(serving.project.id)
        tree = repository.tree(repository.commit(serving.record.commit).tree)
        entry = tree.entry(spec.path)
        return "" if entry is None else tree.read(entry, CODE_LIMIT_BYTES).decode(errors="replace")
    except (ClowdyError, ValueError):
        # Gone, or too large to show: everything else about the function is still worth an answer.
        return ""
