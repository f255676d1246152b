"""`clowdy reconcile`: the records are made again from git."""

from __future__ import annotations

from pathlib import Path

import click

from clowdy.server.cli.client import Client
from clowdy.server.cli.failure import Misuse
from clowdy.server.cli.output import say, say_json
from clowdy.server.cli.target import json_option, project_options, resolve

_SECONDS = 1800.0


@click.command("reconcile")
@click.option("--data-dir", type=click.Path(path_type=Path), metavar="DIR", help="Work on this data directory itself.")
@project_options
@json_option
def command(data_dir: Path | None, project: str | None, remote: str | None, as_json: bool) -> None:
    """Rebuild projects, functions, versions, releases and history from what git says.

    One project, or with none named and no git remote every project of the server. With --data-dir it works on the
    machine itself, without a token.
    """
    if data_dir is not None:
        if remote is not None:
            raise Misuse("--data-dir and --remote exclude each other")
        from clowdy.server.cli import machine

        answer = machine.reconcile(data_dir, project)
    else:
        target = resolve(project, remote)
        with Client(target) as client:
            answer = client.post(
                "/api/reconcile", {"project": target.project} if target.project else {}, seconds=_SECONDS
            )
    if as_json:
        say_json(answer)
        return
    for line in answer.get("lines") or ["Reconciled."]:
        say(str(line))
