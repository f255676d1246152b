"""Everything that pages and API are made with: handed down once by the composition root."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from clowdy.server.config import Config
from clowdy.server.people.auth import Authorizer
from clowdy.server.people.secrets import Secrets
from clowdy.server.people.tokens import Tokens
from clowdy.server.store.engine import Store

if TYPE_CHECKING:
    from aiohttp.web import AbstractRouteDef

    from clowdy.server.git.repos import Repositories
    from clowdy.server.releases.desk import Releases

Call = Mapping[str, Any]
"""One invocation as the API shows it, with `project_id` and `function_id`."""


@dataclass(frozen=True, slots=True)
class Missed:
    """Who follows calls did not keep up, and so many were left out."""

    calls: int


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls are meant; `function` is an id, `before` the id of a call that is newer than all of them."""

    project_id: str
    function_id: str | None = None
    search: str = ""
    before: str | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class CallTotals:
    """Numbers of all calls of some projects."""

    calls: int = 0
    successes: int = 0
    duration_ms: float = 0.0


class Calls(Protocol):
    """The invocations that were logged."""

    async def every(self, wanted: CallFilter) -> Sequence[Call]:
        """The newest calls first."""
        ...

    async def find(self, call_id: str) -> Call | None:
        """One call."""
        ...

    def follow(
        self, project_id: str, function_id: str | None
    ) -> AbstractAsyncContextManager[AsyncIterator[Call | Missed]]:
        """Calls as they are logged, from when the context is entered."""
        ...

    async def totals(self, project_ids: Sequence[str]) -> CallTotals:
        """Their numbers."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the server that answer for the API.

    `routes` are those of other parts, which identify their callers themselves: git, direct invoke. `doctor` says
    what this machine has and lacks. `client` is who sent a request: (peer, headers) to an address.
    """

    config: Config
    store: Store
    tokens: Tokens
    authorizer: Authorizer
    secrets: Secrets
    releases: Releases
    repositories: Repositories
    calls: Calls
    doctor: Callable[[], Awaitable[Mapping[str, Any]]]
    client: Callable[[str | None, Mapping[str, str]], str | None]
    version: str
    routes: Sequence[AbstractRouteDef] = field(default=())
