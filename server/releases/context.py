"""What releases are made with: handed down once by the composition root."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from clowdy.hooks.syntax import SyntaxChild
from clowdy.runtimes.pool import Pool
from clowdy.schema.manifest import CheckSpec
from clowdy.server.config import Config
from clowdy.server.git.repos import Repositories
from clowdy.server.releases.requirements import Requirements
from clowdy.server.releases.serving import Serving
from clowdy.server.store.engine import Store
from clowdy.server.store.projects import Project


@dataclass(frozen=True, slots=True)
class Context:
    """The parts that a release passes through.

    `publish` is one assignment of the gateway's table and must not wait; `announce` does so for a project of which
    nothing is live yet. `check` runs one request on a candidate and returns what was wrong with the answer, or None.
    `secret_values` are those of a project id, `adopt_secrets` binds what was set for a name before its project was
    there. `redact` takes secret values out of a text. `forget_calls` removes what was logged of a project. `report`
    writes a fault of ours to the server's log.
    """

    config: Config
    store: Store
    repositories: Repositories
    pool: Pool
    requirements: Requirements
    syntax: SyntaxChild
    publish: Callable[[Serving], None]
    withdraw: Callable[[str], None]
    check: Callable[[Serving, CheckSpec], Awaitable[str | None]]
    secret_values: Callable[[str], Awaitable[Mapping[str, str]]]
    adopt_secrets: Callable[[str, str], Awaitable[object]]
    redact: Callable[[str, str], str]
    forget_calls: Callable[[str], Awaitable[object]]
    urls: Callable[[Project], Sequence[str]]
    clock: Callable[[], float]
    report: Callable[[str, BaseException], None]
    announce: Callable[[Project], None] = lambda project: None
    live: dict[str, Serving] = field(default_factory=dict)
    """What serves each project id now: written by `activate`, `reconcile` and `renew` alone."""
    changes: Counter[str] = field(default_factory=Counter)
    """How often names or secret values of each project id changed: what was loaded before then is loaded again."""
