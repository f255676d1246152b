"""`clowdy cancel`: a push that is being built is stopped."""

from __future__ import annotations

import click

from clowdy.server.cli import address
from clowdy.server.cli.client import Client
from clowdy.server.cli.output import say, say_json
from clowdy.server.cli.target import json_option, project_options, resolve


@click.command("cancel")
@click.argument("push", required=False)
@project_options
@json_option
def command(push: str | None, project: str | None, remote: str | None, as_json: bool) -> None:
    """Stop the push that is running now, or the one with the id PUSH. What is live stays live."""
    target = resolve(project, remote)
    path = f"{target.path}/cancel" if push is None else f"{target.path}/pushes/{address.segment(push)}/cancel"
    with Client(target) as client:
        answer = client.post(path)
    if as_json:
        say_json(answer)
    else:
        say(f"Cancelled push {answer.get('id') or push or ''}".rstrip() + ".")
