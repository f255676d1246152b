"""What anybody may ask: is it up, what may clowdy.yaml say, what does the API offer."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from aiohttp import web

from clowdy.server.web.answers import as_json
from clowdy.server.web.endpoints import Endpoint
from clowdy.server.web.openapi import describe


def routes(version: str, endpoints: Sequence[Endpoint]) -> list[web.RouteDef]:
    """The public routes; what they answer never changes while the server runs."""
    schema = files("clowdy.schema").joinpath("clowdy.schema.json").read_bytes()
    document = describe(version, endpoints)

    async def health(_: web.Request) -> web.Response:
        return as_json({"status": "ok"})

    async def manifest_schema(_: web.Request) -> web.Response:
        # Editors fetch it from other origins, and ask again only now and then.
        headers = {
            "Access-Control-Allow-Origin": "*",
            "Cross-Origin-Resource-Policy": "cross-origin",
            "Cache-Control": "public, max-age=300",
        }
        return web.Response(body=schema, content_type="application/schema+json", headers=headers)

    async def openapi(_: web.Request) -> web.Response:
        return as_json(document)

    return [
        web.get("/api/health", health),
        web.get("/schema/clowdy.schema.json", manifest_schema),
        web.get("/openapi.json", openapi),
    ]
