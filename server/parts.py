"""What an open server consists of, before it listens."""

from __future__ import annotations

from dataclasses import dataclass

from clowdy.runtimes.pool import Pool
from clowdy.server.config import Config
from clowdy.server.git.repos import Repositories
from clowdy.server.git.wire import GitWire
from clowdy.server.lock import DataLock
from clowdy.server.people.auth import Authorizer
from clowdy.server.people.secrets import Secrets
from clowdy.server.people.tokens import Tokens
from clowdy.server.releases.desk import Releases
from clowdy.server.serve.gateway import Gateway
from clowdy.server.serve.journal import Journal
from clowdy.server.store.engine import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """The open parts of a server that does not listen yet. `admin_token` is its text when it was made just now."""

    config: Config
    lock: DataLock
    store: Store
    tokens: Tokens
    authorizer: Authorizer
    secrets: Secrets
    repositories: Repositories
    wire: GitWire
    pool: Pool
    journal: Journal
    gateway: Gateway
    releases: Releases
    admin_token: str | None
