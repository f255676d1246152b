"""The URL map of everything but the gateway."""

from __future__ import annotations

import asyncio

from aiohttp import web

from clowdy.server.web.api import accounts, functions, invocations, projects, public, releases, secrets, server
from clowdy.server.web.endpoints import Endpoint, route
from clowdy.server.web.middleware import STOPPING, translate
from clowdy.server.web.pages import home
from clowdy.server.web.services import Services

BODY_LIMIT_BYTES = 1024 * 1024

ENDPOINTS: tuple[Endpoint, ...] = tuple(
    endpoint
    for module in (accounts, projects, functions, releases, secrets, invocations, server)
    for endpoint in module.table.endpoints
)


def make_application(services: Services) -> web.Application:
    """Pages, API and the routes that other parts bring along, as one aiohttp application."""
    application = web.Application(middlewares=[translate], client_max_size=BODY_LIMIT_BYTES)
    application[STOPPING] = asyncio.Event()
    application.on_shutdown.append(_stop)
    # Routes of other parts first: the git endpoint's own paths win over a pattern of the API.
    application.add_routes(services.routes)
    application.add_routes(public.routes(services.version, ENDPOINTS))
    application.add_routes([web.get("/", home.page(services))])
    application.add_routes(route(endpoint, services) for endpoint in ENDPOINTS)
    return application


async def _stop(application: web.Application) -> None:
    # Streams without an end would else take up the whole time that calls are given.
    application[STOPPING].set()
