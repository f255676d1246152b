"""Tokens: made, shown once, known by their digest, ended. Those that count are in memory."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from sqlalchemy.ext.asyncio import AsyncConnection

from clowdy.schema.text import printable
from clowdy.server.errors import Conflict, Invalid, NotFound
from clowdy.server.store import audit
from clowdy.server.store import tokens as stored
from clowdy.server.store.engine import Store
from clowdy.server.store.tokens import Token

PREFIX = "clowdy_"
ADMIN = "admin"
PRESET_ID = "preset"
REFRESH_SECONDS = 2.0

_NOBODY = hashlib.sha256(b"no token has this digest, whatever its text").hexdigest()

log = logging.getLogger(__name__)


class Scope(StrEnum):
    """What a token allows, each including the one before."""

    READ = "read"
    DEPLOY = "deploy"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is acting, by which token, and how far that reaches; `project_id` None means every project."""

    name: str
    scope: Scope
    project_id: str | None
    token_id: str


class Tokens:
    """Every token of this server. What another process changes in the database counts after `REFRESH_SECONDS`."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._tokens: Mapping[str, Token] = MappingProxyType({})
        self._used: dict[str, float] = {}
        self._refreshing = asyncio.Lock()
        self._refreshed = 0
        self._task: asyncio.Task[None] | None = None

    async def open(self, preset: str | None = None) -> str | None:
        """Reads the tokens; gives the text of the admin token when it was made just now, the only time it is shown.

        A `preset` text becomes the admin token instead of the one before, and is never given back.
        """
        async with self._store.writing() as connection:
            rows = await stored.every(connection)
            text = await self._admin(connection, rows, preset)
        await self.refresh()
        self._task = asyncio.create_task(self._keep_fresh(), name="tokens")
        return text

    async def close(self) -> None:
        """Writes down when tokens were used and ends the reading."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._write_used()

    async def create(
        self, name: str, scope: Scope = Scope.DEPLOY, project_id: str | None = None, *, by: str = ADMIN
    ) -> tuple[Token, str]:
        """A new token and its text, which is kept nowhere; raises Invalid for a name that cannot stand in records."""
        name = _checked_name(name)
        token, text = new_token(name, scope, project_id, self._clock())
        async with self._store.writing() as connection:
            await stored.add(connection, token)
            await audit.add(connection, by, "token.create", project_id, f"{token.id} {name} {scope}", token.created_at)
        await self.refresh()
        return token, text

    async def every(self) -> list[Token]:
        """The tokens that are not revoked, newest first."""
        await self.refresh()
        return [token for token in self._tokens.values() if token.revoked_at is None]

    async def revoke(self, token_id: str, *, by: str = ADMIN) -> None:
        """Ends a token at once; raises NotFound, or Conflict for the last way in."""
        now = self._clock()
        async with self._store.writing() as connection:
            rows = [token for token in await stored.every(connection) if token.revoked_at is None]
            token = next((token for token in rows if token.id == token_id), None)
            if token is None:
                raise NotFound("Token not found")
            if _is_way_in(token) and sum(map(_is_way_in, rows)) == 1:
                raise Conflict("this is the last admin token: make another one first")
            await stored.revoke(connection, token_id, now)
            await audit.add(connection, by, "token.revoke", token.project_id, f"{token.id} {token.name}", now)
        await self.refresh()

    async def refresh(self) -> None:
        """Reads the tokens anew; callers that come while one read waits to begin share it."""
        seen = self._refreshed
        async with self._refreshing:
            if self._refreshed > seen + 1:
                return
            async with self._store.reading() as connection:
                rows = await stored.every(connection)
            self._tokens = MappingProxyType({token.id: token for token in rows})
            self._refreshed += 1

    def match(self, text: str) -> Principal | None:
        """Who holds this text, judged by what is in memory; the time taken does not depend on what is wrong with it."""
        digest = digest_of(text)
        known = None
        # Always two comparisons: with the token that the text names, if any, and with the preset one.
        for candidate in (self._named(text), self._tokens.get(PRESET_ID)):
            expected = candidate.digest if candidate is not None and candidate.revoked_at is None else _NOBODY
            if hmac.compare_digest(expected, digest):
                known = candidate
        if known is None:
            return None
        self._used[known.id] = self._clock()
        return Principal(known.name, Scope(known.scope), known.project_id, known.id)

    def is_valid(self, token_id: str) -> bool:
        """Whether a token that was let in still counts."""
        token = self._tokens.get(token_id)
        return token is not None and token.revoked_at is None

    def is_own(self, text: str) -> bool:
        """Whether a text is, or looks like, a token of this server, which no function may see."""
        preset = self._tokens.get(PRESET_ID)
        return text.startswith(PREFIX) or (preset is not None and hmac.compare_digest(preset.digest, digest_of(text)))

    def _named(self, text: str) -> Token | None:
        parts = text.split("_", 2)
        return self._tokens.get(parts[1]) if len(parts) == 3 and text.startswith(PREFIX) else None

    async def _admin(self, connection: AsyncConnection, rows: list[Token], preset: str | None) -> str | None:
        now = self._clock()
        current = [token for token in rows if token.name == ADMIN and token.revoked_at is None]
        if preset is None:
            # Tokens may have been made on the machine itself before the server's first start.
            if any(token.name == ADMIN for token in rows):
                return None
            token, text = new_token(ADMIN, Scope.ADMIN, None, now)
            await stored.add(connection, token)
            await audit.add(connection, ADMIN, "token.create", None, f"{token.id} {ADMIN} first start", now)
            return text
        digest = digest_of(preset)
        if [token.digest for token in current] == [digest]:
            return None
        for token in current:
            await stored.revoke(connection, token.id, now)
        await stored.save(connection, Token(PRESET_ID, digest, ADMIN, Scope.ADMIN, None, now))
        await audit.add(connection, ADMIN, "token.preset", None, "CLOWDY_ADMIN_TOKEN", now)
        return None

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
                await self._write_used()
            except Exception:
                log.exception("tokens could not be read")

    async def _write_used(self) -> None:
        if not self._used:
            return
        used, self._used = self._used, {}
        async with self._store.writing() as connection:
            await stored.touch(connection, used)


def new_token(name: str, scope: Scope, project_id: str | None, now: float) -> tuple[Token, str]:
    """A token with 256 random bits, and its text."""
    token_id = secrets.token_hex(6)
    text = f"{PREFIX}{token_id}_{secrets.token_hex(32)}"
    return Token(token_id, digest_of(text), name, scope, project_id, now), text


def digest_of(text: str) -> str:
    """What is kept of a token's text. Random texts need no slow hash; a preset one has 16 characters or more."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _is_way_in(token: Token) -> bool:
    return token.scope == Scope.ADMIN and token.project_id is None


def _checked_name(name: str) -> str:
    # It becomes the author of tags and commits, where git gives angle brackets a meaning.
    if not name or len(name) > 64 or name != name.strip() or name != printable(name) or set(name) & set("<>"):
        raise Invalid("a token's name has 1 to 64 printable characters, none of < and >")
    if name == ADMIN:
        raise Invalid("the name admin is the admin token's: choose another one")
    return name
