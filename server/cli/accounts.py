"""The file that keeps a token for each server, in the user's configuration folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clowdy.server.cli.failure import Failure


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of one server. `from_git`: git asked for the token, so git may forget it again."""

    token: str = field(repr=False)
    from_git: bool = False


@dataclass(frozen=True, slots=True)
class Accounts:
    """Every server that this user has a token for, by address, and the one that is meant when none is named."""

    servers: Mapping[str, Account] = field(default_factory=dict)
    default: str | None = None

    def token(self, server: str) -> str | None:
        """The token for a server, or None."""
        account = self.servers.get(server)
        return account.token if account else None

    def with_account(self, server: str, account: Account) -> Accounts:
        """The same with one server added or replaced."""
        return replace(self, servers={**self.servers, server: account})

    def without(self, server: str) -> Accounts:
        """The same without one server."""
        kept = {name: account for name, account in self.servers.items() if name != server}
        return Accounts(kept, None if self.default == server else self.default)


def location(environment: Mapping[str, str] | None = None) -> Path:
    """Where the file is, by the rules for configuration folders."""
    environment = os.environ if environment is None else environment
    base = environment.get("XDG_CONFIG_HOME", "")
    # The convention wants relative values ignored.
    folder = Path(base) if base.startswith("/") else Path(environment.get("HOME") or Path.home()) / ".config"
    return folder / "clowdy" / "config.toml"


def load(path: Path | None = None) -> Accounts:
    """What the file says; nothing when there is none."""
    path = location() if path is None else path
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Accounts()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Failure(f"cannot read {path}: {error}; mend it, or move it away and log in again") from None
    servers = content.get("servers")
    accounts = {
        server: Account(entry["token"], entry.get("from_git") is True)
        for server, entry in (servers.items() if isinstance(servers, dict) else ())
        if isinstance(entry, dict) and isinstance(entry.get("token"), str)
    }
    default = content.get("default")
    return Accounts(accounts, default if isinstance(default, str) else None)


def remember(server: str, token: str, *, default: bool | None = None, path: Path | None = None) -> None:
    """Keeps `token` for `server`. `default`: True makes it the default, None only where there is none yet."""
    with _changing(path) as (accounts, write):
        changed = accounts.with_account(server, Account(token))
        if default or (default is None and accounts.default is None):
            changed = replace(changed, default=server)
        write(changed)


def remember_from_git(server: str, token: str, path: Path | None = None) -> None:
    """Keeps what git asked its user for, unless there already is a token for `server`."""
    if load(path).token(server) is not None:
        return
    with _changing(path) as (accounts, write):
        if accounts.token(server) is None:
            changed = accounts.with_account(server, Account(token, from_git=True))
            write(replace(changed, default=accounts.default or server))


def forget_from_git(server: str, token: str, path: Path | None = None) -> bool:
    """Removes what `remember_from_git` kept; a token that came by `clowdy login` stays. True when it went."""
    if load(path).servers.get(server) != Account(token, from_git=True):
        return False
    with _changing(path) as (accounts, write):
        if accounts.servers.get(server) != Account(token, from_git=True):
            return False
        write(accounts.without(server))
    return True


@contextlib.contextmanager
def _changing(path: Path | None) -> Iterator[tuple[Accounts, Any]]:
    path = location() if path is None else path
    # A file that is a link into somebody's collection of settings stays one.
    path = path.resolve()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(path.parent / ".lock", "a", opener=_private) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield load(path), lambda accounts: _write(path, accounts)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror or error}") from None


def _private(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_CLOEXEC, 0o600)


def _write(path: Path, accounts: Accounts) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".config-", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(_text(accounts))
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _text(accounts: Accounts) -> str:
    lines = ["# Tokens of Clowdy servers. Written by `clowdy login`."]
    if accounts.default is not None:
        lines.append(f"default = {_quoted(accounts.default)}")
    for server, account in sorted(accounts.servers.items()):
        lines += ["", f"[servers.{_quoted(server)}]", f"token = {_quoted(account.token)}"]
        if account.from_git:
            lines.append("from_git = true")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # JSON's escapes are TOML's too, but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
