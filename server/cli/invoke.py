"""`clowdy invoke`: one call of a function, and its result."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from clowdy.server.cli import address
from clowdy.server.cli.client import Client
from clowdy.server.cli.failure import Failure, Misuse
from clowdy.server.cli.output import say_json, say_object
from clowdy.server.cli.target import json_option, project_options, resolve

# The longest timeout of a function, the wait for an instance, and some more.
_SECONDS = 930.0


@click.command("invoke")
@click.argument("function")
@click.argument("event", required=False, metavar="[JSON|-]")
@project_options
@json_option
def command(function: str, event: str | None, project: str | None, remote: str | None, as_json: bool) -> None:
    """Call FUNCTION with a JSON event and print what it returns; `-` reads the event from standard input.

    Exits 1 when the function fails, with the reason on standard error.
    """
    content = _event(sys.stdin.read() if event == "-" else event)
    target = resolve(project, remote)
    if target.project is None and _is_id(function):
        path = f"/api/invoke/{function}"
    else:
        path = f"/api/invoke/{address.segment(target.must_project)}/{address.segment(function)}"
    with Client(target) as client:
        answer = client.post(path, {"input": content}, seconds=_SECONDS)
    success = answer.get("success") is True
    if as_json:
        say_json(answer)
    elif success:
        say_object(answer.get("output"))
    if not success:
        lines = str(answer.get("error") or "no reason was given").rstrip().split("\n")
        lines.append(f"see clowdy logs {answer.get('invocation_id', '')}".rstrip())
        raise Failure(f"{function} failed: {lines[0]}", details=lines[1:])


def _event(text: str | None) -> Any:
    if text is None or not text.strip():
        return {}
    try:
        return json.loads(text)
    except ValueError as error:
        raise Misuse(f"the event is not JSON: {error}") from None


def _is_id(text: str) -> bool:
    return len(text) == 12 and all(letter in "0123456789abcdef" for letter in text)
