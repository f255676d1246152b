"""The server itself: numbers, rebuilding from git, what the machine has and lacks."""

from __future__ import annotations

from clowdy.server.people.auth import Right
from clowdy.server.web.endpoints import Asked, Table

table = Table()


@table.get("/api/stats", Right.READ)
async def stats(asked: Asked) -> object:
    """Numbers of everything that the caller may see, all of them whole."""
    services = asked.services
    projects = [
        project.id
        for project in await services.releases.projects.every()
        if services.authorizer.sees(asked.principal, project.id)
    ]
    servings = [serving for project in projects if (serving := services.releases.live(project)) is not None]
    totals = await services.calls.totals(projects)
    return {
        "total_functions": sum(len(serving.manifest.functions) for serving in servings),
        "total_invocations": totals.calls,
        "success_rate": round(100 * totals.successes / totals.calls) if totals.calls else 0,
        "avg_duration_ms": round(totals.duration_ms / totals.calls) if totals.calls else 0,
    }


@table.post("/api/reconcile", Right.SERVER)
async def reconcile(asked: Asked) -> object:
    """Makes the records of all projects, or of `project`, anew from git, and serves what they say."""
    project = (await asked.body()).text("project", None)
    return {"lines": list(await asked.services.releases.rebuild(project))}


@table.get("/api/doctor", Right.SERVER)
async def doctor(asked: Asked) -> object:
    """What this machine has and lacks."""
    return await asked.services.doctor()
