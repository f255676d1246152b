"""`clowdy init`: a new project in a new folder, one `git push` away from its first call."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

from clowdy.schema import names
from clowdy.server.cli import accounts, address, credential, starter, workspace
from clowdy.server.cli.failure import Failure, Misuse
from clowdy.server.cli.output import note, say, say_json
from clowdy.server.cli.target import (
    PROJECT_RULE,
    json_option,
    of_server,
    server_from_environment,
)

# For the first commit alone, where git's settings name nobody.
_STAND_IN = {"name": "Clowdy", "email": "clowdy@localhost"}


@click.command("init")
@click.argument("name")
@click.option("--starter", "kind", default="hello", show_default=True, metavar="STARTER", help="What to begin with.")
@json_option
def command(name: str, kind: str, as_json: bool) -> None:
    """Make the folder NAME with a project of that name, ready to be pushed.

    The folder is a git repository with a first commit and the remote `clowdy`; nothing is sent anywhere.
    """
    if not names.is_project(name):
        raise Misuse(f"{name!r} cannot be a project's name: {PROJECT_RULE}")
    if kind not in starter.AVAILABLE:
        raise Misuse(f"no starter {kind!r}: there is {', '.join(starter.AVAILABLE)}")
    target = of_server(server_from_environment() or accounts.load().default or address.DEFAULT)
    project = address.ProjectAddress(target.server, name)
    _make(Path(name), project, kind)
    if as_json:
        say_json({"project": name, "folder": name, "remote": workspace.REMOTE, "git_url": project.git_url})
    else:
        say(f"Made {name}/, for the project {name} on {target.server}. Next:\n")
        chosen = starter.AVAILABLE[kind]
        call = chosen.call.format(url=f"{target.server}/api/gateway/{name}")
        for line in (f"cd {name}", *chosen.before, f"git push {workspace.REMOTE} main", call):
            say(f"  {line}")
    if target.token is None:
        note(f"not signed in to {target.server}: run clowdy login {target.server} before the push")


def connect(remote: str, project: address.ProjectAddress, *, folder: Path | None = None, tags_apart: bool) -> None:
    """Adds a remote for `project` whose tokens come from `clowdy credential`.

    `tags_apart` keeps its tags below `refs/tags/REMOTE/`, where two servers' `deploy/1` do not meet.
    """
    workspace.git("remote", "add", "--", remote, project.git_url, folder=folder)
    if tags_apart:
        section = f"remote.{remote}"
        workspace.git(
            "config", "--add", f"{section}.fetch", f"+refs/tags/deploy/*:refs/tags/{remote}/deploy/*", folder=folder
        )
        workspace.git("config", f"{section}.tagOpt", "--no-tags", folder=folder)
    use_helper(project.server, folder=folder)


def use_helper(server: str, *, folder: Path | None = None) -> None:
    """Makes this repository ask `clowdy credential`, and nothing else, about `server`."""
    helper, use_path = f"credential.{server}.helper", f"credential.{server}.useHttpPath"
    for name in (helper, use_path):
        # 5: there was none.
        outcome = workspace.attempt(["config", "--local", "--unset-all", name], folder=folder)
        if outcome.code not in (0, 5):
            raise Failure(f"git config: {outcome.reason}")
    for name, value in credential.settings(server):
        workspace.git("config", "--local", "--add", name, value, folder=folder)


def _make(folder: Path, project: address.ProjectAddress, kind: str) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise Failure(f"{folder} is in the way: move it, or choose another name")
    if folder.is_dir() and any(folder.iterdir()):
        raise Failure(f"{folder}/ is not empty: choose another name, or go into it and run clowdy link")
    try:
        # Made beside its place and moved there whole: an init that fails leaves nothing.
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.absolute().parent) as beside:
            draft = Path(beside) / folder.name
            _fill(draft, project, kind)
            draft.replace(folder)
    except OSError as error:
        raise Failure(f"cannot make {folder}/: {error.strerror or error}") from None


def _fill(folder: Path, project: address.ProjectAddress, kind: str) -> None:
    paths = starter.copy(kind, folder, project.server)
    workspace.git("init", "--quiet", "--initial-branch=main", folder=folder)
    workspace.git("add", "--force", "--", *paths, folder=folder)
    stand_in = [
        argument
        for key, value in _STAND_IN.items()
        if not (_named_by_environment(key) or workspace.setting(f"user.{key}", folder=folder))
        for argument in ("-c", f"user.{key}={value}")
    ]
    # Hooks and signing are for what the user writes; here they could only fail.
    quiet = ["--quiet", "--no-verify", "--no-gpg-sign"]
    outcome = workspace.attempt([*stand_in, "commit", *quiet, "--message", f"Start from {kind}"], folder=folder)
    if outcome.code:
        raise Failure(f"git commit: {outcome.reason}")
    connect(workspace.REMOTE, project, folder=folder, tags_apart=False)


def _named_by_environment(key: str) -> bool:
    both = (f"GIT_AUTHOR_{key.upper()}", f"GIT_COMMITTER_{key.upper()}")
    return all(os.environ.get(name) for name in both) or (key == "email" and bool(os.environ.get("EMAIL")))
