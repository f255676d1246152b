"""`clowdy link`: an existing repository gets a remote for its project."""

from __future__ import annotations

import click

from clowdy.schema import names
from clowdy.server.cli import accounts, address, workspace
from clowdy.server.cli.failure import Failure, Misuse
from clowdy.server.cli.init import connect, use_helper
from clowdy.server.cli.output import note, say, say_json
from clowdy.server.cli.target import PROJECT_RULE, json_option, of_server, server_from_environment


@click.command("link")
@click.argument("project", required=False)
@click.option("--remote", default=workspace.REMOTE, show_default=True, metavar="NAME", help="What git calls it.")
@json_option
def command(project: str | None, remote: str, as_json: bool) -> None:
    """Add a git remote for PROJECT to this repository, without a token in it.

    PROJECT is a name, or the whole address http://HOST/git/NAME.git; without it, the name that another remote of
    this repository or its folder has. Where the repository already has a remote of another Clowdy server, the new
    one's tags go to refs/tags/NAME/deploy/*.
    """
    workspace.require_repository()
    remotes = workspace.remotes()
    wanted = _wanted(project, remotes)
    present = remotes.get(remote)
    if remote in remotes and (present is None or present.git_url != wanted.git_url):
        url = address.without_password(workspace.remote_url(remote) or "")
        raise Failure(f"the remote {remote} already points to {url}: choose another with --remote NAME")
    if present is None:
        others = any(other is not None for other in remotes.values())
        connect(remote, wanted, tags_apart=others)
    else:
        use_helper(wanted.server)
    if as_json:
        say_json({"project": wanted.project, "remote": remote, "git_url": wanted.git_url})
    else:
        say(f"The remote {remote} is the project {wanted.project} on {wanted.server}. Next:\n")
        say(f"  git push {remote} {workspace.branch() or 'HEAD:main'}")
    if of_server(wanted.server).token is None:
        note(f"not signed in to {wanted.server}: run clowdy login {wanted.server} before the push")


def _wanted(project: str | None, remotes: dict[str, address.ProjectAddress | None]) -> address.ProjectAddress:
    if project is not None and "://" in project:
        found = address.project_address(project)
        if found is None:
            raise Misuse(f"{address.without_password(project)} is not a project's address: http://HOST/git/NAME.git")
        return address.ProjectAddress(found.server, found.project)
    server = server_from_environment() or accounts.load().default or address.DEFAULT
    name = project or _guessed(remotes)
    if not names.is_project(name):
        raise Misuse(f"{name!r} cannot be a project's name: {PROJECT_RULE}")
    return address.ProjectAddress(server, name)


def _guessed(remotes: dict[str, address.ProjectAddress | None]) -> str:
    for name in (workspace.REMOTE, *remotes):
        found = remotes.get(name)
        if found is not None:
            return found.project
    top = workspace.top()
    return top.name if top is not None else ""
