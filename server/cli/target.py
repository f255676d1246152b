"""Which server and project a verb means: from options, environment, the git remote and the kept tokens."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

from clowdy.schema import names
from clowdy.schema.text import printable
from clowdy.server.cli import accounts, address, workspace
from clowdy.server.cli.failure import Failure, Misuse

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Target:
    """A server, the token for it, and the project that is meant, as far as each is known.

    `remote` is the git remote that names exactly this project, or None.
    """

    server: str
    token: str | None = field(repr=False)
    project: str | None
    remote: str | None = None

    @property
    def must_project(self) -> str:
        """The project; raises Failure where none is known."""
        if self.project is None:
            raise Failure(
                "which project? there is no git remote `clowdy` here: run clowdy link PROJECT, or name one with -p"
            )
        return self.project

    @property
    def path(self) -> str:
        """Where the API has the project."""
        return f"/api/projects/{address.segment(self.must_project)}"

    @property
    def git_url(self) -> str:
        """Where git has the project."""
        return address.ProjectAddress(self.server, self.must_project).git_url


def resolve(project: str | None = None, remote: str | None = None) -> Target:
    """What is meant when `-p` says `project` and `--remote` says `remote`."""
    if project is not None:
        _checked(project)
    name = remote or workspace.REMOTE
    found = workspace.remote_project(name)
    if found is None and remote is not None:
        raise Failure(f"the git remote {remote!r} names no project of a Clowdy server: see git remote -v")
    kept = accounts.load()
    server = server_from_environment() or (found.server if found else None) or kept.default
    if server is None:
        raise Failure("no server is known: run clowdy login URL, or set CLOWDY_URL")
    same = found is not None and found.server == server
    meant = project or (found.project if found else None)
    password = found.password if found is not None and same else None
    given = token_from_environment()
    # git would take a password in the remote's URL before it asks for the token that the environment gives.
    exact = found is not None and same and found.project == meant and not (password and given)
    return Target(server, given or password or kept.token(server), meant, name if exact else None)


def named_here(project: str | None, remote: str | None) -> str | None:
    """The project that `-p` says or the git remote names, whatever its server; None where neither does."""
    if project is not None:
        return _checked(project)
    found = workspace.remote_project(remote or workspace.REMOTE)
    return found.project if found else None


def project_here(project: str | None, remote: str | None) -> str:
    """The same; raises Failure where neither names one."""
    return Target("", None, named_here(project, remote)).must_project


def of_server(server: str) -> Target:
    """A server alone."""
    return Target(server, token_from_environment() or accounts.load().token(server), None)


def server_from_environment() -> str | None:
    """What CLOWDY_URL says, or None."""
    url = os.environ.get("CLOWDY_URL")
    if not url:
        return None
    try:
        return address.normal(url)
    except ValueError as error:
        raise Failure(f"CLOWDY_URL: {error}", exit_code=2) from None


def token_from_environment() -> str | None:
    """What CLOWDY_TOKEN says, or None."""
    return os.environ.get("CLOWDY_TOKEN", "").strip() or None


PROJECT_RULE = "2 to 40 of a-z, 0-9 and -, beginning with a letter and not ending in -"


def _checked(project: str) -> str:
    # An id is 12 hex digits, which may begin with a digit.
    is_id = len(project) == 12 and all(letter in "0123456789abcdef" for letter in project)
    if not is_id and not names.is_project(project):
        raise Misuse(f"{printable(project, 60)!r} is not a project's name: {PROJECT_RULE}")
    return project


def project_options(function: _Function) -> _Function:
    """Adds `-p` and `--remote` to a verb; `resolve` takes both."""
    function = click.option("--remote", metavar="NAME", help="The git remote that names the project [clowdy].")(
        function
    )
    return click.option("-p", "--project", metavar="PROJECT", help="The project, instead of the git remote's.")(
        function
    )


def json_option(function: _Function) -> _Function:
    """Adds `--json` to a verb."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")(function)
