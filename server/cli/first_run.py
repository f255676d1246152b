"""What `clowdy serve` prints once it serves, and the token that `make run` gives to the user who runs it."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

import click

from clowdy.server.app import Announce, Started
from clowdy.server.cli import accounts
from clowdy.server.cli.failure import Failure
from clowdy.server.people.tokens import ADMIN, Scope


def announcer(*, first_run: bool) -> Announce:
    """What to do when the server listens; `first_run` also takes the user by the hand, as `make run` does."""

    async def announce(started: Started) -> None:
        url = started.config.public_url
        click.echo(f"Clowdy serves on {url}")
        if started.admin_token is not None:
            click.echo(f"admin token, shown this once: {started.admin_token}")
        for notice in started.notices:
            click.echo(notice, err=True)
        if started.unavailable is not None:
            click.echo(f"functions cannot run: {started.unavailable}", err=True)
        if first_run:
            await _log_in(started, url)
            _print_commands(url)
        sys.stdout.flush()

    return announce


async def _log_in(started: Started, url: str) -> None:
    """Keeps a token of its own for this user, unless there is one that works."""
    try:
        known = accounts.load().token(url)
        if known is not None and started.tokens.match(known) is not None:
            return
        text = started.admin_token
        if text is None:
            _, text = await started.tokens.create(_user(), Scope.ADMIN, by=ADMIN)
        accounts.remember(url, text)
    except Failure as failure:
        click.echo(f"no token was kept for this user: {failure}", err=True)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ADMIN


def _print_commands(url: str) -> None:
    clowdy = Path(sys.argv[0]).absolute()
    click.echo("")
    click.echo("In another terminal, from nothing to a live function:")
    click.echo("")
    for command in (f"{clowdy} init hello", "cd hello", "git push clowdy main", f"curl {url}/api/gateway/hello/"):
        click.echo(f"  {command}")
    click.echo("")
