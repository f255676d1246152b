"""What a clowdy.yaml says, as frozen values: parsed once, trusted after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Network(StrEnum):
    """What a function may reach."""

    OFF = "false"
    ON = "true"
    DATABASE = "database"


class HandlerType(StrEnum):
    """What a handler is; AUTO means that its shape decides when it is imported."""

    AUTO = "auto"
    HANDLER = "handler"
    ASGI = "asgi"
    WSGI = "wsgi"


class Auth(StrEnum):
    """Who may call a route."""

    NONE = "none"
    KEY = "key"
    JWT = "jwt"


_EMPTY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """One function. `env` and `secrets` are already merged: the function's own over the project's.

    `file` is the handler's path relative to the first of `sources`; `path` is the same from the top of the
    repository. `sources` are normalised folders without a trailing slash, `.` being the whole repository.
    """

    name: str
    file: str
    attribute: str = "handler"
    description: str = ""
    type: HandlerType = HandlerType.AUTO
    sources: tuple[str, ...] = (".",)
    network: Network = Network.OFF
    timeout_seconds: float = 30.0
    memory_bytes: int = 128 * 1024 * 1024
    cpu: float = 0.5
    concurrency: int = 16
    parallel: int = 1
    min_warm: int = 0
    env: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    secrets: frozenset[str] = frozenset()
    schedules: tuple[str, ...] = ()
    public: bool = True

    @property
    def path(self) -> str:
        """The handler's file from the top of the repository."""
        first = self.sources[0]
        return self.file if first == "." else f"{first}/{self.file}"


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """One route; `path` begins with `/` and has no trailing slash, except `/` itself."""

    method: str
    path: str
    function: str
    auth: Auth = Auth.NONE

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """A request that must pass on a candidate; `json` (None: not asked) must be contained in the answer.

    `line` is where it stands in the file.
    """

    method: str
    path: str
    status: int = 200
    json: Any = None
    has_json: bool = False
    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole clowdy.yaml without problems of its own. Orders are those of the file."""

    functions: Mapping[str, FunctionSpec]
    routes: tuple[RouteSpec, ...] = ()
    name: str | None = None
    description: str = ""
    cors: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    secrets: frozenset[str] = frozenset()
    requirements: tuple[str, ...] = ()
    requirements_file: str | None = None
    database: str | None = None
    checks: tuple[CheckSpec, ...] = ()

    @property
    def secret_names(self) -> frozenset[str]:
        """Every secret that the project or one of its functions declares."""
        return self.secrets.union(*(function.secrets for function in self.functions.values()))
