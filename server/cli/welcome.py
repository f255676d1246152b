"""What a server says when it listens: where it is, its first token, and the way to a first live function."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

from clowdy.server.cli import accounts, credential
from clowdy.server.cli.failure import Failure
from clowdy.server.cli.output import note, say
from clowdy.server.errors import Invalid
from clowdy.server.people.tokens import Scope, Tokens

if TYPE_CHECKING:
    from clowdy.server.app import Started

_OTHER_NAME = "make-run"


async def welcome(started: Started, *, signs_in: bool) -> None:
    """Prints it. `signs_in`: whoever starts the server is signed in to it, as `make run` promises."""
    url = started.config.public_url
    say(f"Clowdy listens on {url}")
    if started.admin_token is not None:
        say(f"The admin token, shown this once: {started.admin_token}")
    if started.second_choice is not None:
        note(started.second_choice)
    if started.notice is not None:
        note(started.notice)
    if started.unavailable is not None:
        note(f"functions cannot run: {started.unavailable}")
    if signs_in:
        try:
            is_default = await _sign_in(url, started.tokens, started.admin_token)
        except Failure as failure:
            note(f"{failure.message}; sign in with clowdy login {url}")
            is_default = False
        _say_commands(url, is_default=is_default)


async def _sign_in(url: str, tokens: Tokens, admin_token: str | None) -> bool:
    """Keeps a token for the user who starts the server, unless one that works is kept; whether `url` is the default."""
    kept = accounts.load().token(url)
    if kept is None or tokens.match(kept) is None:
        # One that was preset is never written down: then it is a token of its own.
        accounts.remember(url, admin_token or await _own_token(tokens))
    return accounts.load().default == url


async def _own_token(tokens: Tokens) -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = _OTHER_NAME
    try:
        _, text = await tokens.create(name, Scope.ADMIN)
    except Invalid:
        _, text = await tokens.create(_OTHER_NAME, Scope.ADMIN)
    return text


def _say_commands(url: str, *, is_default: bool) -> None:
    there = "" if is_default else f"CLOWDY_URL={url} "
    say("\nA first function, from another terminal:\n")
    say(f"  {there}{credential.command()} init hello")
    say("  cd hello")
    say("  git push clowdy main")
    say(f"  curl {url}/api/gateway/hello/\n")
