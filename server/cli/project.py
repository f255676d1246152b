"""`clowdy project`: what projects there are, and their names, deletion and return."""

from __future__ import annotations

import sys

import click

from clowdy.server.cli import address, workspace
from clowdy.server.cli.client import Client
from clowdy.server.cli.failure import Failure, Misuse
from clowdy.server.cli.output import ago, note, say, say_json, say_table, short
from clowdy.server.cli.program import Verbs
from clowdy.server.cli.target import Target, json_option, project_options, resolve


@click.group("project", cls=Verbs)
def command() -> None:
    """List, show, rename, delete and restore projects."""


@command.command("list")
@click.option("--deleted", is_flag=True, help="Those that can be restored instead.")
@click.option("--remote", metavar="NAME", help="The git remote that names the server [clowdy].")
@json_option
def list_projects(deleted: bool, remote: str | None, as_json: bool) -> None:
    """List the projects that you may see, newest first."""
    with Client(resolve(None, remote)) as client:
        projects = client.every("/api/projects", deleted=1 if deleted else None)
    for project in projects if as_json else ():
        say_json(project)
    if not as_json:
        if not projects:
            note("no deleted projects" if deleted else "no projects yet: clowdy init NAME starts one")
        say_table(
            [_row(project) for project in projects], head=("PROJECT", "LIVE", "COMMIT", "SINCE", "FUNCTIONS", "OWNER")
        )


@command.command("show")
@click.argument("name", required=False)
@project_options
@json_option
def show(name: str | None, project: str | None, remote: str | None, as_json: bool) -> None:
    """Show one project: NAME, or the one that the git remote names."""
    target = resolve(name or project, remote)
    path = target.path
    with Client(target) as client:
        answer = client.get(path)
    if as_json:
        say_json(answer)
        return
    live = answer.get("live") or {}
    serving = f"{live.get('tag')} ({short(live.get('commit'))}) since {ago(live.get('since'))} by {live.get('who')}"
    facts = {
        "name": answer.get("slug") or answer.get("name"),
        "display name": answer.get("display_name"),
        "id": answer.get("id"),
        "description": answer.get("description"),
        "owner": answer.get("owner"),
        "live": serving if live else "nothing yet",
        "deploy branch": answer.get("deploy_branch"),
        "functions": answer.get("function_count"),
        "url": answer.get("url"),
        "git": answer.get("git_url"),
    }
    say_table([(key, value) for key, value in facts.items() if value not in (None, "")])


@command.command("rename")
@click.argument("new_name", metavar="NEW")
@project_options
@json_option
def rename(new_name: str, project: str | None, remote: str | None, as_json: bool) -> None:
    """Give the project another name. The old one goes on working until another project takes it."""
    target = resolve(project, remote)
    path = target.path
    with Client(target) as client:
        answer = client.put(path, {"slug": new_name})
    name = answer.get("slug") or answer.get("name") or new_name
    if target.remote is not None:
        renamed = address.renamed(workspace.remote_url(target.remote) or "", name)
        if renamed is not None:
            workspace.git("remote", "set-url", "--", target.remote, renamed)
            note(f"the git remote {target.remote} now is {address.without_password(renamed)}")
    if as_json:
        say_json(answer)
    else:
        say(f"{target.project} is now {name}.")


@command.command("delete")
@click.argument("name", required=False)
@click.option("--yes", metavar="NAME", help="The project's name, instead of typing it.")
@project_options
@json_option
def delete(name: str | None, yes: str | None, project: str | None, remote: str | None, as_json: bool) -> None:
    """Take a project down at once. Repository and secrets are kept for 30 days: `project restore NAME`."""
    target = resolve(name or project, remote)
    path = target.path
    with Client(target) as client:
        known = client.get(path)
        called = known.get("slug") or target.must_project
        if yes is None:
            if not sys.stdin.isatty():
                raise Misuse(f"to delete {called}, say its name: --yes {called}")
            yes = str(click.prompt(f"This takes {called} down. Its name, to go on", err=True))
        if yes != called:
            raise Failure(f"{yes!r} is not {called}: nothing was deleted")
        answer = client.delete(path, confirm=called)
    if as_json:
        say_json(answer)
    else:
        say(f"Deleted {called}. For 30 days it can come back: clowdy project restore {called}")


@command.command("restore")
@click.argument("name", required=False)
@project_options
@json_option
def restore(name: str | None, project: str | None, remote: str | None, as_json: bool) -> None:
    """Bring a deleted project back, as long as it is kept."""
    target: Target = resolve(name or project, remote)
    path = f"{target.path}/restore"
    with Client(target) as client:
        answer = client.post(path)
    if as_json:
        say_json(answer)
    else:
        say(f"Restored {target.project}.")


def _row(project: dict[str, object]) -> tuple[object, ...]:
    live = project.get("live")
    facts: dict[str, object] = live if isinstance(live, dict) else {}
    return (
        project.get("slug") or project.get("name"),
        facts.get("tag"),
        short(facts.get("commit")),
        ago(facts.get("since")),
        project.get("function_count"),
        project.get("owner"),
    )
