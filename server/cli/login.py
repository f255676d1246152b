"""`clowdy login`: a token, checked by its server and kept."""

from __future__ import annotations

import sys

import click

from clowdy.schema import names
from clowdy.server.cli import accounts, address
from clowdy.server.cli.client import Client
from clowdy.server.cli.failure import Failure, Misuse
from clowdy.server.cli.output import note, say, say_json
from clowdy.server.cli.target import Target, json_option, server_from_environment


@click.command("login")
@click.argument("url", required=False)
@click.option("--token-stdin", is_flag=True, help="Read the token from standard input.")
@json_option
def command(url: str | None, token_stdin: bool, as_json: bool) -> None:
    """Sign in to the server at URL with a token and keep it.

    The token is asked for, or read from standard input when that is not a terminal. The server becomes the one
    that is meant where no git remote and no CLOWDY_URL names another.
    """
    server = _server(url)
    token = _token(server, from_input=token_stdin or not sys.stdin.isatty())
    with Client(Target(server, token, None)) as client:
        me = client.get("/api/me")
    accounts.remember(server, token, default=True)
    if as_json:
        say_json(me)
        return
    limit = f", project {me['project']}" if me.get("project") else ""
    say(f"Signed in to {server} as {me.get('name')} (scope {me.get('scope')}{limit}).")
    if server.startswith("http://") and not address.is_loopback(server.removeprefix("http://").split(":")[0]):
        note("http sends the token unencrypted: put the server behind https")


def _server(url: str | None) -> str:
    if url is None:
        known = server_from_environment() or accounts.load().default
        if known is None:
            raise Misuse(f"which server? clowdy login {address.DEFAULT}")
        return known
    try:
        return address.normal(url)
    except ValueError as error:
        raise Misuse(str(error)) from None


def _token(server: str, *, from_input: bool) -> str:
    if from_input:
        text = sys.stdin.buffer.readline().decode(errors="surrogateescape")
    else:
        text = str(click.prompt(f"Token for {server}", hide_input=True, err=True))
    token = text.strip()
    if not token:
        raise Failure("no token was given: make run prints the first one, clowdy token create makes more")
    if not names.is_token(token):
        raise Failure("that is not a token: it has a control character or is not UTF-8")
    return token
