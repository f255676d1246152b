"""`clowdy invoke`: one call of a function, and its result."""

from __future__ import annotations

import json
import math
import sys

import click

from clowdy.schema.text import printable
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
    content = _request(event)
    target = resolve(project, remote)
    if target.project is None and _is_id(function):
        path = f"/api/invoke/{function}"
    else:
        path = f"/api/invoke/{address.segment(target.must_project)}/{address.segment(function)}"
    with Client(target) as client:
        answer = client.post(path, content, seconds=_SECONDS)
    success = answer.get("success") is True
    if as_json:
        say_json(answer)
    elif success:
        say_object(answer.get("output"))
    if not success:
        lines = str(answer.get("error") or "no reason was given").rstrip().split("\n")
        lines.append(f"see clowdy logs {answer.get('invocation_id', '')}".rstrip())
        raise Failure(f"{function} failed: {lines[0]}", details=lines[1:])


def _request(event: str | None) -> bytes:
    """The body of a call with what was given as `[JSON|-]`, in ASCII: a lone surrogate travels as its escape alone."""
    try:
        text = sys.stdin.buffer.read().decode() if event == "-" else event or ""
        # What is not UTF-8 on the command line comes as surrogates, which would turn into escapes that nobody wrote.
        text.encode()
        content = json.loads(text, parse_float=_finite, parse_constant=_finite) if text.strip() else {}
        return json.dumps({"input": content}).encode("ascii")
    except RecursionError:
        raise Misuse("the event is not JSON: it is nested too deep") from None
    except ValueError as error:
        raise Misuse(f"the event is not JSON: {error}") from None


def _finite(text: str) -> float:
    """The number that `text` means; raises ValueError for one that JSON cannot carry."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{printable(text, 60)} is no number of JSON, or too large")
    return number


def _is_id(text: str) -> bool:
    return len(text) == 12 and all(letter in "0123456789abcdef" for letter in text)
