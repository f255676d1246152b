"""The API's table: method, path, who may, what it does. Handlers get a caller that was identified and allowed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, overload

from aiohttp import web

from clowdy.server.errors import Invalid, NotFound
from clowdy.server.people.auth import Right
from clowdy.server.people.tokens import Principal
from clowdy.server.store import projects
from clowdy.server.store.projects import Project
from clowdy.server.web.answers import as_json
from clowdy.server.web.services import Services

BODY_SECONDS = 30.0
PROJECT_NOT_FOUND = "Project not found"

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of somebody who may make it. `project` is None for those that name none."""

    request: web.Request
    services: Services
    principal: Principal
    _project: Project | None = None

    @property
    def project(self) -> Project:
        """The project that the path names."""
        if self._project is None:
            raise NotFound(PROJECT_NOT_FOUND)
        return self._project

    @property
    def who(self) -> str:
        """The name that records and messages give the caller."""
        return self.principal.name

    def segment(self, name: str) -> str:
        """A part of the path, decoded."""
        return self.request.match_info[name]

    def number(self, name: str, default: int, *, least: int = 1, most: int = 1_000) -> int:
        """A whole number of the query string; raises Invalid for anything else."""
        text = self.request.query.get(name, "")
        if not text:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 9 or not least <= int(text) <= most:
            raise Invalid(f"{name} is a whole number from {least} to {most}")
        return int(text)

    def flag(self, name: str) -> bool:
        """Whether the query string says yes to something."""
        return self.request.query.get(name, "").lower() in {"1", "true", "yes"}

    async def body(self) -> Body:
        """The JSON object that was sent; an empty body is an empty object."""
        if self.request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise web.HTTPUnsupportedMediaType(text="the body must not be compressed")
        try:
            async with asyncio.timeout(BODY_SECONDS):
                content = await self.request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        try:
            value = json.loads(content) if content.strip() else {}
        # A RecursionError: thousands of brackets.
        except (ValueError, RecursionError):
            raise Invalid("the body is not JSON") from None
        if not isinstance(value, dict):
            raise Invalid("the body is not a JSON object")
        return Body(value)


class Body:
    """The fields of a JSON object that was sent."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def __contains__(self, name: str) -> bool:
        return self._fields.get(name) is not None

    @overload
    def text(self, name: str, *, most: int = ...) -> str: ...
    @overload
    def text(self, name: str, default: str, *, most: int = ...) -> str: ...
    @overload
    def text(self, name: str, default: None, *, most: int = ...) -> str | None: ...

    def text(self, name: str, default: object = _MISSING, *, most: int = 10_000) -> object:
        """A text field; one that is missing or null is `default`, or Invalid without one."""
        value = self._fields.get(name)
        if value is None:
            if default is _MISSING:
                raise Invalid(f"{name}: field required")
            return default
        if not isinstance(value, str):
            raise Invalid(f"{name}: must be text")
        if len(value) > most:
            raise Invalid(f"{name}: has more than {most} characters")
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise Invalid(f"{name}: has characters that no text has")
        return value


Handler = Callable[[Asked], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One entry of the table. `right` is what a caller needs, in the project that the path names if it names one."""

    method: str
    path: str
    right: Right
    handle: Handler
    summary: str

    @property
    def names_project(self) -> bool:
        """Whether the path names a project, which so is looked up and judged before the handler runs."""
        return "{project}" in self.path


class Table:
    """Collects the endpoints of one module: `@table.get("/api/me", Right.READ)`; the docstring is the summary."""

    def __init__(self) -> None:
        self.endpoints: list[Endpoint] = []

    def add(self, method: str, path: str, right: Right) -> Callable[[Handler], Handler]:
        """The decorator for one entry."""

        def register(handle: Handler) -> Handler:
            summary = (handle.__doc__ or "").strip().partition("\n")[0]
            self.endpoints.append(Endpoint(method, path, right, handle, summary))
            return handle

        return register

    def get(self, path: str, right: Right) -> Callable[[Handler], Handler]:
        """An entry for GET."""
        return self.add("GET", path, right)

    def post(self, path: str, right: Right) -> Callable[[Handler], Handler]:
        """An entry for POST."""
        return self.add("POST", path, right)

    def put(self, path: str, right: Right) -> Callable[[Handler], Handler]:
        """An entry for PUT."""
        return self.add("PUT", path, right)

    def delete(self, path: str, right: Right) -> Callable[[Handler], Handler]:
        """An entry for DELETE."""
        return self.add("DELETE", path, right)


def route(endpoint: Endpoint, services: Services) -> web.RouteDef:
    """The endpoint as aiohttp serves it: identified, found, allowed, handled, answered."""

    async def handle(request: web.Request) -> web.StreamResponse:
        # Bearer alone: a browser that once asked for the page's password would send it along from any site.
        principal = await services.authorizer.identify(
            request.headers.get("Authorization"), address=client_of(request, services), basic=False
        )
        project = None
        if endpoint.names_project:
            project = await _find(services, principal, request.match_info["project"], endpoint.right)
        else:
            services.authorizer.authorize(principal, endpoint.right)
        answer = await endpoint.handle(Asked(request, services, principal, project))
        return answer if isinstance(answer, web.StreamResponse) else as_json(answer)

    return web.RouteDef(endpoint.method, endpoint.path, handle, {})


def client_of(request: web.BaseRequest, services: Services) -> str | None:
    """The address that a request came from, by what proxies in front say where they are believed."""
    return services.client(request.remote, request.headers)


async def _find(services: Services, principal: Principal, ref: str, right: Right) -> Project | None:
    async with services.store.reading() as connection:
        project = await projects.find(connection, ref)
    if project is not None:
        services.authorizer.authorize(principal, right, project.id)
    return project
