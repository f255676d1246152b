"""Releases in the database: an index of what the repository's refs say, written again as often as need be."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from clowdy.server.store import functions, releases, versions
from clowdy.server.store.projects import Project
from clowdy.server.store.releases import Release
from clowdy.server.store.versions import Version


async def index_release(connection: AsyncConnection, project: Project, release: Release) -> None:
    """Writes what a release's record says about functions and versions into the database; repeatable."""
    for version in release.record.functions.values():
        function = await functions.ensure(connection, project.id, version.name, version.function_id, release.created_at)
        known = await versions.by_digest(connection, function.id, version.digest)
        if known is None:
            await versions.add(
                connection, Version(function.id, version.number, version.digest, release.commit, release.created_at)
            )
    await releases.save(connection, release)
