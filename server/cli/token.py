"""`clowdy token`: tokens for people, machines and CI."""

from __future__ import annotations

import getpass
import re
from pathlib import Path
from typing import Any

import click

from clowdy.server.cli import address
from clowdy.server.cli.client import Client
from clowdy.server.cli.failure import Failure
from clowdy.server.cli.output import ago, note, say, say_json, say_table
from clowdy.server.cli.program import Verbs
from clowdy.server.cli.target import json_option, resolve

_TOKEN = re.compile(r"(?:clowdy_)?([0-9a-f]{12})(?:_.*)?")

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Work on this machine's own server, without a token.",
)


@click.group("token", cls=Verbs)
def command() -> None:
    """Make, list and revoke tokens.

    A token is a bearer token for the API and the password for git.
    """


@command.command("create")
@click.argument("name", required=False)
@click.option("--user", metavar="NAME", help="The person that acts with it.")
@click.option(
    "--scope",
    type=click.Choice(["read", "deploy", "admin"]),
    help="How much it allows.  [admin; with --project: deploy]",
)
@click.option("-p", "--project", metavar="PROJECT", help="The only project that it opens.")
@data_dir_option
@json_option
def create(
    name: str | None, user: str | None, scope: str | None, project: str | None, data_dir: Path | None, as_json: bool
) -> None:
    """Make a token and print it, alone on the last line: it is shown this once.

    NAME is who acts with it, in records and messages: a person, or what CI is called. `read` sees, `deploy` also
    pushes and goes back, `admin` also makes projects, tokens and secrets.
    """
    wanted = {
        "name": name or user or _login_name(),
        "scope": scope or ("deploy" if project else "admin"),
        "project": project,
        "user": user,
    }
    given = {key: value for key, value in wanted.items() if value is not None}
    if data_dir is not None:
        from clowdy.server.cli import machine

        answer = machine.create_token(data_dir, given["name"], given["scope"], project)
    else:
        with Client(resolve()) as client:
            answer = client.post("/api/tokens", given)
    if as_json:
        say_json(answer)
        return
    limit = f", project {answer['project']}" if answer.get("project") else ""
    note(
        f"token {answer.get('id')} for {answer.get('name')} (scope {answer.get('scope')}{limit}); it is not shown again"
    )
    say(answer["token"])


@command.command("list")
@data_dir_option
@json_option
def list_tokens(data_dir: Path | None, as_json: bool) -> None:
    """List the tokens that work, newest first, without their secret part."""
    tokens = _tokens(data_dir)
    for token in tokens if as_json else ():
        say_json(token)
    if not as_json:
        say_table(
            [
                (
                    token.get("id"),
                    token.get("name"),
                    token.get("scope"),
                    token.get("project"),
                    ago(token.get("created_at")),
                    ago(token.get("last_used_at")),
                )
                for token in tokens
            ],
            head=("ID", "NAME", "SCOPE", "PROJECT", "MADE", "USED"),
        )


@command.command("revoke")
@click.argument("which", metavar="ID|NAME")
@data_dir_option
@json_option
def revoke(which: str, data_dir: Path | None, as_json: bool) -> None:
    """End a token at once: the one with this id, or the only one with this name."""
    token = _chosen(which, _tokens(data_dir))
    if data_dir is not None:
        from clowdy.server.cli import machine

        answer = machine.revoke_token(data_dir, token["id"])
    else:
        with Client(resolve()) as client:
            answer = client.delete(f"/api/tokens/{address.segment(token['id'])}")
    if as_json:
        say_json(answer)
    else:
        say(f"Revoked {token['id']} ({token.get('name')}).")


def _tokens(data_dir: Path | None) -> list[dict[str, Any]]:
    if data_dir is not None:
        from clowdy.server.cli import machine

        return machine.list_tokens(data_dir)
    with Client(resolve()) as client:
        return client.every("/api/tokens")


def _chosen(which: str, tokens: list[dict[str, Any]]) -> dict[str, Any]:
    match = _TOKEN.fullmatch(which)
    for token in tokens:
        if token.get("id") == which or (match is not None and token.get("id") == match[1]):
            return token
    named = [token for token in tokens if token.get("name") == which]
    if len(named) > 1:
        ids = ", ".join(str(token.get("id")) for token in named)
        raise Failure(f"there are {len(named)} tokens named {which}: name one by its id: {ids}")
    if not named:
        shown = f"{which[:19]}…" if match else which
        raise Failure(f"no token {shown}: see clowdy token list")
    return named[0]


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        raise Failure("who is the token for? clowdy token create NAME", exit_code=2) from None
