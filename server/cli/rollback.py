"""`clowdy rollback`: an earlier release serves again."""

from __future__ import annotations

import click

from clowdy.server.cli import workspace
from clowdy.server.cli.client import Client
from clowdy.server.cli.failure import Failure
from clowdy.server.cli.output import say, say_json, short
from clowdy.server.cli.target import Target, json_option, project_options, resolve

# A release that must be built again from its stored lock takes as long as a push may.
_SECONDS = 1800.0
_EXPRESSION = frozenset("~^@:")


@click.command("rollback")
@click.argument("to", required=False, metavar="[deploy/N|TAG|SHA]")
@click.option("-m", "--message", "reason", metavar="REASON", help="Why; kept with the release's history.")
@project_options
@json_option
def command(to: str | None, reason: str | None, project: str | None, remote: str | None, as_json: bool) -> None:
    """Make an earlier release serve again: the one that served before, or the one that is named.

    It makes no new release and moves no branch but `live`; the next deploy goes forward again.
    """
    target = resolve(project, remote)
    content = {"to": None if to is None else _named(to, target), "reason": reason}
    path = f"{target.path}/rollback"
    with Client(target) as client:
        outcome = client.post(path, {key: value for key, value in content.items() if value}, seconds=_SECONDS)
    if as_json:
        say_json(outcome)
        return
    lines = outcome.get("lines") or [f"{outcome.get('tag')} ({short(outcome.get('commit'))}) is live"]
    for line in lines:
        say(str(line))


def _named(text: str, target: Target) -> str:
    """What the server can find: its own tags and whole commits; the rest is worked out in this repository."""
    if text.isdecimal() and len(text) < 7:
        return f"deploy/{text}"
    own = text.removeprefix(f"{target.remote}/")
    if own.startswith("deploy/"):
        return own
    is_expression = text == "HEAD" or not _EXPRESSION.isdisjoint(text)
    is_short = 4 <= len(text) < 40 and all(letter in "0123456789abcdef" for letter in text)
    if not (is_expression or is_short):
        return text
    outcome = workspace.attempt(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}"])
    if outcome.code == 0:
        return outcome.text.strip()
    if is_expression:
        raise Failure(f"{text!r} is no commit of this repository")
    return text
