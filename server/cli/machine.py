"""What verbs with `--data-dir` do on the machine itself, without a token.

Tokens are rows that a running server reads when it needs them. What must reach its instances goes to it: with a token
that is made for this one request, which only this data directory's server knows.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from clowdy.server.cli import address
from clowdy.server.cli.client import Client
from clowdy.server.cli.failure import Failure
from clowdy.server.cli.target import Target
from clowdy.server.config import Config
from clowdy.server.errors import ClowdyError
from clowdy.server.lock import holder
from clowdy.server.people.keys import load_keyring
from clowdy.server.people.secrets import Secrets, before_project
from clowdy.server.people.tokens import ADMIN, Scope, Tokens, new_token
from clowdy.server.store import projects, tokens
from clowdy.server.store.engine import Store
from clowdy.server.web import shapes
from clowdy.server.web.answers import moment

_RECONCILE_SECONDS = 1800.0
_Value = TypeVar("_Value")


def create_token(data_dir: Path, name: str, scope: str, project: str | None) -> dict[str, Any]:
    """The new token with its text, as the API answers."""

    async def run(store: Store) -> dict[str, Any]:
        project_id = None if project is None else await _project_id(store, project)
        token, text = await Tokens(store).create(name, Scope(scope), project_id)
        return shapes.token(token, project) | {"token": text}

    return _with_store(data_dir, run)


def list_tokens(data_dir: Path) -> list[dict[str, Any]]:
    """The tokens that work, newest first."""

    async def run(store: Store) -> list[dict[str, Any]]:
        async with store.reading() as connection:
            names = {project.id: project.name for project in await projects.every(connection)}
        return [
            shapes.token(token, token.project_id and names.get(token.project_id, token.project_id))
            for token in await Tokens(store).every()
        ]

    return _with_store(data_dir, run)


def revoke_token(data_dir: Path, token_id: str) -> dict[str, Any]:
    """Ends a token; a running server notices within two seconds."""

    async def run(store: Store) -> dict[str, Any]:
        await Tokens(store).revoke(token_id)
        return {"detail": "Token revoked"}

    return _with_store(data_dir, run)


def set_secret(data_dir: Path, project: str, name: str, value: str) -> dict[str, Any]:
    """Keeps a secret's value; a running server also gives it to what runs."""
    with _running(data_dir) as client:
        if client is not None:
            return client.put(_secret_path(project, name), {"value": value})

    async def run(secrets: Secrets, project_id: str) -> dict[str, Any]:
        await secrets.set(project_id, name, value, by=ADMIN)
        return {"name": name, "replaced": 0}

    return _with_secrets(data_dir, project, run)


def list_secrets(data_dir: Path, project: str) -> list[dict[str, Any]]:
    """The secrets that have a value; a running server also says which are declared."""
    with _running(data_dir) as client:
        if client is not None:
            return client.every(f"/api/projects/{address.segment(project)}/secrets")

    async def run(secrets: Secrets, project_id: str) -> list[dict[str, Any]]:
        return [
            {"name": info.name, "set": True, "updated_at": moment(info.updated_at), "updated_by": info.updated_by}
            for info in await secrets.every(project_id)
        ]

    return _with_secrets(data_dir, project, run)


def remove_secret(data_dir: Path, project: str, name: str, *, force: bool) -> dict[str, Any]:
    """Forgets a secret's value."""
    with _running(data_dir) as client:
        if client is not None:
            return client.delete(_secret_path(project, name), force=1 if force else None)
    if not force:
        raise Failure("while no server runs, nothing says whether what is live declares it: start it, or use --force")

    async def run(secrets: Secrets, project_id: str) -> dict[str, Any]:
        await secrets.remove(project_id, name, by=ADMIN)
        return {"name": name, "replaced": 0}

    return _with_secrets(data_dir, project, run)


def reconcile(data_dir: Path, project: str | None) -> dict[str, Any]:
    """Rebuilds the records from git: by the running server, else here."""
    with _running(data_dir) as client:
        if client is not None:
            content = {} if project is None else {"project": project}
            return client.post("/api/reconcile", content, seconds=_RECONCILE_SECONDS)
    from clowdy.server.app import rebuild_records

    with _translated():
        _become_owner(data_dir)
        return {"lines": list(rebuild_records(_config(data_dir), project))}


@contextmanager
def _running(data_dir: Path) -> Iterator[Client | None]:
    """A client of the server that runs on this data directory, or None when none does."""
    running = holder(data_dir)
    if running is None:
        yield None
        return
    if not running.url:
        raise Failure(f"the server on {data_dir} does not answer yet ({running}): try again")

    token, text = new_token(ADMIN, Scope.ADMIN, None, time.time())

    async def lend(store: Store) -> None:
        async with store.writing() as connection:
            await tokens.add(connection, token)

    async def take_back(store: Store) -> None:
        async with store.writing() as connection:
            await tokens.remove(connection, token.id)

    _with_store(data_dir, lend)
    try:
        with Client(Target(running.url, text, None)) as client:
            yield client
    finally:
        _with_store(data_dir, take_back)


def _with_store(data_dir: Path, run: Callable[[Store], Awaitable[_Value]]) -> _Value:
    async def main() -> _Value:
        async with _open(_config(data_dir)) as store:
            return await run(store)

    with _translated():
        _become_owner(data_dir)
        return asyncio.run(main())


def _with_secrets(data_dir: Path, project: str, run: Callable[[Secrets, str], Awaitable[_Value]]) -> _Value:
    async def with_store(store: Store) -> _Value:
        secrets = Secrets(store, load_keyring(data_dir, _config(data_dir).secret_key))
        async with store.reading() as connection:
            known = await projects.find(connection, project)
        return await run(secrets, known.id if known else before_project(project))

    return _with_store(data_dir, with_store)


@asynccontextmanager
async def _open(config: Config) -> AsyncIterator[Store]:
    if not config.database.is_file():
        raise Failure(f"{config.data_dir} is not the data directory of a server: clowdy serve --data-dir DIR makes one")
    store = await Store.open(config.database)
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ClowdyError as error:
        raise Failure(error.message) from None


def _become_owner(data_dir: Path) -> None:
    # What root makes here, the server's own user could not read.
    status = data_dir.stat() if data_dir.is_dir() else None
    if status is not None and os.geteuid() == 0 and status.st_uid != 0:
        os.setgroups([])
        os.setgid(status.st_gid)
        os.setuid(status.st_uid)


def _config(data_dir: Path) -> Config:
    return Config.load({"data_dir": str(data_dir.absolute())}, os.environ)


async def _project_id(store: Store, project: str) -> str:
    async with store.reading() as connection:
        known = await projects.find(connection, project)
    if known is None:
        raise Failure(f"there is no project {project}: push it first")
    return known.id


def _secret_path(project: str, name: str) -> str:
    return f"/api/projects/{address.segment(project)}/secrets/{address.segment(name)}"
