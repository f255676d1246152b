"""The socket that everything comes in through: opened last, closed first."""

from __future__ import annotations

import contextlib
import importlib.metadata
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from aiohttp import web

from clowdy.server import runtime
from clowdy.server.calls import LoggedCalls
from clowdy.server.config import Config
from clowdy.server.doctor.report import report
from clowdy.server.errors import NotFound, StartError
from clowdy.server.git.wire import Service
from clowdy.server.parts import Parts
from clowdy.server.people.auth import Right
from clowdy.server.people.tokens import Principal
from clowdy.server.serve.direct import Direct, Sees
from clowdy.server.serve.listening import Runner
from clowdy.server.web.app import make_application
from clowdy.server.web.git import GitEndpoint, Located, Ticket
from clowdy.server.web.services import Services

BACKLOG = 1024


@dataclass(slots=True)
class Listening:
    """A server that takes connections."""

    runner: Runner
    site: web.SockSite

    async def refuse_new(self) -> None:
        """No new connections from now on."""
        await self.site.stop()

    async def finish(self, seconds: float) -> None:
        """Gives what runs so many seconds, then cuts it."""
        self.runner.grace(seconds)
        await self.runner.cleanup()


def bind(config: Config) -> socket.socket:
    """A socket that has the address and does not listen yet; raises StartError when the address cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except BaseException:
            bound.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise StartError(
            f"cannot listen on {config.host}:{config.port}: {reason}; choose another with --port or CLOWDY_PORT"
        ) from None
    return bound


@contextlib.asynccontextmanager
async def listen(parts: Parts, bound: socket.socket) -> AsyncIterator[Listening]:
    """Takes connections for as long as this lasts."""
    config = parts.config
    proxies = parts.gateway.proxies
    services = Services(
        config=config,
        store=parts.store,
        tokens=parts.tokens,
        authorizer=parts.authorizer,
        secrets=parts.secrets,
        releases=parts.releases,
        repositories=parts.repositories,
        calls=LoggedCalls(parts.journal),
        doctor=lambda: report(config, runtime.make_driver, parts.pool),
        client=proxies.client,
        version=importlib.metadata.version("clowdy"),
        routes=[*_git(parts).routes(), *_direct(parts).routes()],
    )
    runner = Runner(make_application(services), parts.gateway, connections=config.connections)
    await runner.setup()
    site = web.SockSite(runner, bound, backlog=BACKLOG)
    await site.start()
    # For commands on this machine: the address that it listens on, whatever a proxy in front is called.
    parts.lock.announce(replace(config, public_url_given=False).bound_to(config.port).public_url)
    try:
        yield Listening(runner, site)
    finally:
        await runner.cleanup()


def _direct(parts: Parts) -> Direct:
    async def identify(authorization: str | None, address: str | None) -> Sees:
        # Bearer alone: Basic is sent by a browser that has seen the pages, whoever made it send the request.
        principal = await parts.authorizer.identify(authorization, address=address, basic=False)
        return lambda project_id: parts.authorizer.sees(principal, project_id)

    return Direct(parts.gateway, identify)


def _git(parts: Parts) -> GitEndpoint:
    authorizer, releases = parts.authorizer, parts.releases
    proxies = parts.gateway.proxies

    async def authenticate(request: web.Request) -> Principal:
        address = proxies.client(request.remote, request.headers)
        return await authorizer.identify(request.headers.get("Authorization"), address=address)

    async def locate(principal: Principal, name: str, service: Service) -> Located:
        try:
            project = await releases.projects.find(name)
        except NotFound:
            if service is Service.FETCH:
                raise
            if principal.project_id is not None:
                # Not told from somebody else's project.
                raise
            authorizer.authorize(principal, Right.CREATE)
            releases.projects.check_name(name)
            return Located(None)
        authorizer.authorize(principal, Right.READ if service is Service.FETCH else Right.DEPLOY, project.id)
        if service is Service.FETCH:
            await releases.noted(project.id)
        return Located(parts.repositories.open(project.id), project.id)

    async def open_push(principal: Principal, name: str, located: Located) -> Ticket:
        if located.repository is not None and located.project_id is not None:
            project = await releases.projects.find(located.project_id)
            push_id = releases.pushes.open(principal.name, located.repository, project, None)
            return Ticket(push_id, located.repository)
        pending = releases.projects.reserve(name, principal.name)
        return Ticket(releases.pushes.open(principal.name, pending.repository, None, pending), pending.repository)

    return GitEndpoint(
        parts.wire,
        authenticate=authenticate,
        locate=locate,
        open_push=open_push,
        close_push=releases.pushes.close,
    )
