"""`clowdy plan`: a push that changes nothing and says what it would have changed."""

from __future__ import annotations

from collections.abc import Callable

import click

from clowdy.hooks.report import PLAN_ONLY
from clowdy.server.cli import workspace
from clowdy.server.cli.deploy import project_before_push, warn_of_uncommitted
from clowdy.server.cli.failure import Failure
from clowdy.server.cli.output import is_object, note, say
from clowdy.server.cli.pushing import REMOTE_LINE, deploy_branch, push
from clowdy.server.cli.target import json_option, project_options, resolve


@click.command("plan")
@project_options
@json_option
def command(project: str | None, remote: str | None, as_json: bool) -> None:
    """Show what a deploy of what is committed would change.

    The server judges it as it judges a push, and changes nothing. Exits 1 when there are problems.
    """
    workspace.head()
    target = resolve(project, remote)
    known = project_before_push(target)
    warn_of_uncommitted("not in this plan")
    said: list[str] = []
    hear = _listener(said, as_json=as_json)
    options = ["plan", "format=json"] if as_json else ["plan"]
    pushed = push(target, f"refs/heads/{deploy_branch(known.get('deploy_branch'))}", options, hear)
    if pushed.verdict is not None and pushed.verdict.flag == "=":
        # git sends nothing for a branch that is up to date; `live` it always sends.
        pushed = push(target, "refs/heads/live", options, hear)
    if pushed.verdict is None:
        raise Failure("git could not push", details=said)
    if pushed.verdict.flag == "!" and PLAN_ONLY not in pushed.verdict.reason:
        raise Failure(f"this would be refused: {pushed.verdict.reason or pushed.verdict.summary}")
    if pushed.verdict.flag != "!":
        note(f"the server does not know plans, and took the push: {pushed.verdict.summary}")


def _listener(aside: list[str], *, as_json: bool) -> Callable[[str], None]:
    def hear(line: str) -> None:
        if not line.startswith(REMOTE_LINE) and line != REMOTE_LINE.strip():
            aside.append(line)
        elif not as_json:
            say(line.removeprefix(REMOTE_LINE.strip()).removeprefix(" "))
        elif is_object(line.removeprefix(REMOTE_LINE)):
            click.echo(line.removeprefix(REMOTE_LINE))
        else:
            note(line)

    return hear
