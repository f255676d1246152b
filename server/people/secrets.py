"""Secrets of projects: set outside git, sealed at rest, opened for instances alone, masked in what people read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from clowdy.schema.environment import check_environment_name, check_environment_value
from clowdy.schema.names import is_project
from clowdy.schema.rejection import Rejection
from clowdy.server.errors import Invalid, NotFound
from clowdy.server.people.keys import CannotOpen, Keyring
from clowdy.server.people.redact import Redactor, SecretText
from clowdy.server.store import audit, projects
from clowdy.server.store import secrets as stored
from clowdy.server.store.engine import Store
from clowdy.server.store.secrets import Secret

# Values that were replaced are masked on, for instances that still run with them; this many of each project.
_REMEMBERED = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """What may be said of a secret: everything but its value."""

    name: str
    updated_at: float
    updated_by: str


class Secrets:
    """The secrets of every project. A project that does not exist yet is named by `before_project(NAME)`."""

    def __init__(self, store: Store, keyring: Keyring, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._seen: dict[str, dict[str, None]] = {}
        self._redactors: dict[str, Redactor] = {}

    async def open(self) -> None:
        """Seals what an older key sealed with the one in use, and finishes adoptions that were cut off.

        From then on values are masked, also in what an earlier server left to be logged.
        """
        async with self._store.writing() as connection:
            waiting = {secret.project_id for secret in await stored.everywhere(connection)}
            for project in await projects.every(connection):
                if stored.before_project(project.name) in waiting:
                    await stored.adopt(connection, project.name, project.id, self._reseal)
            opened: dict[str, list[str]] = {}
            for secret in await stored.everywhere(connection):
                value = self._opened(secret)
                if value is None:
                    continue
                opened.setdefault(secret.project_id, []).append(value)
                if not self._keyring.is_current(secret.sealed):
                    sealed = self._keyring.seal(value.encode(), secret.project_id, secret.name)
                    await stored.put(connection, replace(secret, sealed=sealed))
        for project_id, values in opened.items():
            self._remember(project_id, values)

    async def set(self, project_id: str, name: str, value: str, *, by: str) -> bool:
        """Keeps a value; True when it is another one than before. Raises Invalid for what no function can be given."""
        check_secret(name, value)
        now = self._clock()
        async with self._store.writing() as connection:
            before = await stored.find(connection, project_id, name)
            changed = before is None or self._opened(before) != value
            sealed = self._keyring.seal(value.encode(), project_id, name)
            await stored.put(connection, Secret(project_id, name, sealed, now, by))
            await audit.add(connection, by, "secret.set", project_id, name, now)
        self._remember(project_id, [value])
        return changed

    async def remove(self, project_id: str, name: str, *, by: str) -> None:
        """Forgets a value; raises NotFound when there is none."""
        async with self._store.writing() as connection:
            if not await stored.remove(connection, project_id, name):
                raise NotFound(f"Secret '{name}' not found")
            await audit.add(connection, by, "secret.remove", project_id, name, self._clock())

    async def every(self, project_id: str) -> list[SecretInfo]:
        """The project's secrets in the order of their names, without values."""
        async with self._store.reading() as connection:
            rows = await stored.every(connection, project_id)
        return [SecretInfo(row.name, row.updated_at, row.updated_by) for row in rows]

    async def values(self, project_id: str) -> Mapping[str, SecretText]:
        """The values that functions are given. One that cannot be opened is missing, and the log says why."""
        async with self._store.reading() as connection:
            rows = await stored.every(connection, project_id)
        opened = {row.name: value for row in rows if (value := self._opened(row)) is not None}
        self._remember(project_id, opened.values())
        return opened

    async def adopt(self, name: str, project_id: str) -> list[str]:
        """Gives the project that was just made what was set under its name before; gives the secrets' names."""
        async with self._store.writing() as connection:
            return await stored.adopt(connection, name, project_id, self._reseal)

    def redactor(self, project_id: str) -> Redactor | None:
        """What masks the project's values, as far as they were asked for in this process; None for no values."""
        return self._redactors.get(project_id)

    def mask_of(self, project_id: str) -> Callable[[bytes], bytes] | None:
        """What masks the project's values in bytes, or None where there are none to be masked."""
        redactor = self._redactors.get(project_id)
        return redactor.data if redactor else None

    def redact(self, project_id: str, text: str) -> str:
        """`text` with the project's values masked."""
        redactor = self._redactors.get(project_id)
        return text if redactor is None else redactor.text(text)

    def _reseal(self, secret: Secret, project_id: str) -> bytes | None:
        value = self._opened(secret)
        return None if value is None else self._keyring.seal(value.encode(), project_id, secret.name)

    def _opened(self, secret: Secret) -> SecretText | None:
        try:
            return SecretText(self._keyring.open(secret.sealed, secret.project_id, secret.name).decode())
        except CannotOpen as error:
            log.warning("secret of project %s: %s", secret.project_id, error.message)
            return None

    def _remember(self, project_id: str, values: Collection[str]) -> None:
        seen = self._seen.setdefault(project_id, {})
        for value in values:
            seen.pop(value, None)
            seen[value] = None
        while len(seen) > max(_REMEMBERED, len(values)):
            del seen[next(iter(seen))]
        self._redactors[project_id] = Redactor(seen)


def check_secret(name: str, value: str) -> None:
    """Raises Invalid for a name or value that no function can be given."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Invalid(f"the value of {name} is not text in UTF-8") from None
    if not value:
        raise Invalid(f"the value of {name} is empty")
    try:
        check_environment_name(name)
        check_environment_value(name, value)
    except Rejection as rejection:
        # What helps a value in git, a file of the repository, is no place for a secret.
        hint = "" if rejection.code == "env-size" else rejection.hint
        raise Invalid("; ".join(filter(None, (rejection.message, hint)))) from None


def before_project(name: str) -> str:
    """What stands for the id of a project that does not exist yet; raises Invalid for what cannot be its name."""
    if not is_project(name):
        raise Invalid(f"{name[:60]!r} is not a project's name: write lower-case letters, digits and -, 2 to 40 of them")
    return stored.before_project(name)
