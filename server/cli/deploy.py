"""`clowdy deploy`: a `git push` of what is committed to the branch that goes live."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from clowdy.schema.text import printable
from clowdy.server.cli import workspace
from clowdy.server.cli.client import Client
from clowdy.server.cli.failure import Failure, NotThere
from clowdy.server.cli.output import is_object, note
from clowdy.server.cli.pushing import REMOTE_LINE, deploy_branch, push
from clowdy.server.cli.target import Target, json_option, project_options, resolve

_NAMED = 10


@click.command("deploy")
@project_options
@json_option
def command(project: str | None, remote: str | None, as_json: bool) -> None:
    """Push what is committed to the project's deploy branch, which makes it live.

    The same as `git push clowdy HEAD:main`. What is not committed is named, and not deployed.
    """
    workspace.head()
    target = resolve(project, remote)
    known = project_before_push(target)
    warn_of_uncommitted("not committed, so not deployed")
    branch = deploy_branch(known.get("deploy_branch"))
    said: list[str] = []
    options = ["format=json"] if as_json else []
    pushed = push(target, f"refs/heads/{branch}", options, _listener(said, as_json=as_json))
    verdict = pushed.verdict
    if verdict is None:
        raise Failure("git could not push: what it said stands above")
    if verdict.flag == "!":
        reason = verdict.reason or verdict.summary
        raise Failure(f"{branch} was refused: {reason}", details=_ways_out(said, reason))
    if pushed.code:
        raise Failure(f"git ended with {pushed.code}")
    if verdict.flag == "=":
        _say_nothing_new(target, branch, known)


def project_before_push(target: Target) -> Mapping[str, Any]:
    """What the server knows of the project; nothing where the push will make it."""
    path = target.path
    with Client(target) as client:
        try:
            return client.get(path)
        except NotThere:
            return {}


def warn_of_uncommitted(words: str) -> None:
    """Names what the repository has on disk and HEAD has not."""
    paths = workspace.uncommitted()
    if paths:
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        note(f"{words}: {', '.join(paths[:_NAMED])}{more}")


def _listener(said: list[str], *, as_json: bool) -> Callable[[str], None]:
    def hear(line: str) -> None:
        said.append(line)
        text = line.removeprefix(REMOTE_LINE)
        if as_json and text != line and is_object(text):
            click.echo(text)
        else:
            click.echo(printable(line), err=True)

    return hear


def _ways_out(said: list[str], reason: str) -> list[str]:
    if "shallow" in reason or any("shallow update not allowed" in line for line in said):
        return ["This clone lacks older commits: git fetch --unshallow (in CI: fetch-depth: 0), then deploy again."]
    if "non-fast-forward" in reason or "fetch first" in reason:
        return ["Somebody else pushed: git pull --rebase, then deploy again."]
    return []


def _say_nothing_new(target: Target, branch: str, known: Mapping[str, Any]) -> None:
    live = known.get("live")
    remote = target.remote or target.git_url
    if isinstance(live, dict) and live.get("commit") != workspace.head():
        note(
            f"{branch} has this commit already, but {live.get('tag')} is live: git push {remote} HEAD:live goes forward"
        )
    else:
        note(f"{branch} has this commit already: nothing to deploy")
