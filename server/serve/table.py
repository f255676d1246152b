"""What is live, as immutable values: which project answers under a name, and which function has an id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from clowdy.runtimes.api import Application
from clowdy.schema.manifest import Manifest
from clowdy.schema.release import ReleaseRecord
from clowdy.server.serve.answers import SANDBOX, SERVER, Header
from clowdy.server.serve.routing import RouteTable

PREFIX = "/api/gateway/"


@dataclass(frozen=True, slots=True)
class Target:
    """One function of a release. Without an application it cannot be called, and `problem` tells its author why."""

    function_id: str
    name: str
    application: Application | None
    problem: str = ""
    public: bool = True
    version: int = 0


_NO_TARGETS: Mapping[str, Target] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ProjectTable:
    """One release of a project, as requests see it. `release` is None for a candidate that has no number yet.

    `routes` is None when the release has none. `cors` are the origins whose pages may call, `*` for any.
    """

    project_id: str
    name: str
    release: int | None
    routes: RouteTable | None = None
    functions: Mapping[str, Target] = field(default_factory=lambda: _NO_TARGETS)
    cors: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        project_id: str,
        name: str,
        record: ReleaseRecord,
        manifest: Manifest,
        applications: Mapping[str, Application],
        problems: Mapping[str, str],
        *,
        candidate: bool = False,
    ) -> ProjectTable:
        """The table of a release; `problems` says of functions without an application why they cannot start."""
        functions = {
            function.name: Target(
                record.functions[function.name].function_id,
                function.name,
                applications.get(function.name),
                problems.get(function.name, ""),
                function.public,
                record.functions[function.name].number,
            )
            for function in manifest.functions.values()
            if function.name in record.functions
        }
        routes = RouteTable.compile(manifest.routes) if manifest.routes else None
        return cls(project_id, name, None if candidate else record.number, routes, functions, manifest.cors)


class Mount:
    """A project at one place: below `prefix` on the pages' host, or at the top of a host of its own.

    `headers` are those of each of its answers; `plain` begins the commonest of them, up to the request's id.
    """

    __slots__ = ("headers", "plain", "prefix", "project")

    def __init__(self, project: ProjectTable, prefix: str) -> None:
        headers: list[Header] = []
        if project.release is not None:
            headers.append(("X-Clowdy-Release", str(project.release)))
        if prefix:
            headers.append(("Content-Security-Policy", SANDBOX))
        self.project = project
        self.prefix = prefix
        self.headers = tuple(headers)
        lines = [
            "HTTP/1.1 200 OK",
            "Content-Type: application/json",
            *(f"{name}: {value}" for name, value in headers),
            f"Server: {SERVER}",
            "X-Request-Id: ",
        ]
        self.plain = "\r\n".join(lines).encode()

    @property
    def own_host(self) -> bool:
        """Whether the project is at a host of its own."""
        return not self.prefix


class Live(NamedTuple):
    """Everything that is live at one moment. Never changed: publishing makes the next one.

    `functions` has every function by its id, with its project.
    """

    by_path: Mapping[str, Mount] = MappingProxyType({})
    by_host: Mapping[str, Mount] = MappingProxyType({})
    functions: Mapping[str, tuple[ProjectTable, Target]] = MappingProxyType({})

    def with_project(self, project: ProjectTable, names: Sequence[str]) -> Live:
        """The same with `project` under `names`, the first of which is its own and the others old ones.

        An old name never takes the place of another project's own.
        """
        others = self.without(project.project_id)
        by_path, by_host, functions = dict(others.by_path), dict(others.by_host), dict(others.functions)
        for position, name in enumerate(names):
            there = by_path.get(name)
            if position and there is not None and there.project.name == name:
                continue
            by_path[name] = Mount(project, f"{PREFIX}{name}")
            by_host[name] = Mount(project, "")
        functions.update({target.function_id: (project, target) for target in project.functions.values()})
        return Live(by_path, by_host, functions)

    def without(self, project_id: str) -> Live:
        """The same without a project."""
        return Live(
            {name: mount for name, mount in self.by_path.items() if mount.project.project_id != project_id},
            {name: mount for name, mount in self.by_host.items() if mount.project.project_id != project_id},
            {key: found for key, found in self.functions.items() if found[0].project_id != project_id},
        )

    def project(self, ref: str) -> ProjectTable | None:
        """A project by name, old name or id."""
        mount = self.by_path.get(ref)
        if mount is not None:
            return mount.project
        return next((mount.project for mount in self.by_path.values() if mount.project.project_id == ref), None)
