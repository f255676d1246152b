"""`clowdy secret`: values that functions are given and git never sees."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from clowdy.schema import names
from clowdy.schema.text import printable
from clowdy.server.cli import address
from clowdy.server.cli.client import Client
from clowdy.server.cli.failure import Failure, Misuse
from clowdy.server.cli.output import ago, note, say, say_json, say_table
from clowdy.server.cli.program import Verbs
from clowdy.server.cli.target import json_option, project_here, project_options, resolve
from clowdy.server.cli.token import data_dir_option

# More than any value may have; what is longer is refused before all of it is read.
_LIMIT = 64 * 1024


@click.group("secret", cls=Verbs, later=frozenset({"import"}))
def command() -> None:
    """Set, list and remove a project's secrets.

    A function is given those that its clowdy.yaml declares as NAME: {secret: true}.
    """


@command.command("set")
@click.argument("name")
@data_dir_option
@project_options
@json_option
def set_secret(name: str, data_dir: Path | None, project: str | None, remote: str | None, as_json: bool) -> None:
    """Set NAME to a value that is asked for, or read from standard input when that is not a terminal.

    It may come before the first push, makes no release and no commit; running functions get it at once.
    """
    _check(name)
    value = _value(name)
    if data_dir is not None:
        from clowdy.server.cli import machine

        answer = machine.set_secret(data_dir, project_here(project, remote), name, value)
    else:
        target = resolve(project, remote)
        path = f"{target.path}/secrets/{address.segment(name)}"
        with Client(target) as client:
            answer = client.put(path, {"value": value})
    if as_json:
        say_json(answer)
        return
    replaced = answer.get("replaced")
    count, verb = ("1 instance", "is") if replaced == 1 else (f"{replaced} instances", "are")
    say(f"Set {name}. {count} that had the old value {verb} replaced." if replaced else f"Set {name}.")


@command.command("list")
@data_dir_option
@project_options
@json_option
def list_secrets(data_dir: Path | None, project: str | None, remote: str | None, as_json: bool) -> None:
    """List the secrets that are set or declared, without their values."""
    answer: list[dict[str, Any]]
    if data_dir is not None:
        from clowdy.server.cli import machine

        answer = machine.list_secrets(data_dir, project_here(project, remote))
    else:
        target = resolve(project, remote)
        path = f"{target.path}/secrets"
        with Client(target) as client:
            answer = client.every(path)
    for secret in answer if as_json else ():
        say_json(secret)
    if as_json:
        return
    if not answer:
        note("no secrets: clowdy secret set NAME makes one")
    say_table([_row(secret) for secret in answer], head=("NAME", "SET", "DECLARED", "CHANGED", "BY"))


@command.command("rm")
@click.argument("name")
@click.option("--force", is_flag=True, help="Although what is live declares it.")
@data_dir_option
@project_options
@json_option
def remove(
    name: str, force: bool, data_dir: Path | None, project: str | None, remote: str | None, as_json: bool
) -> None:
    """Forget the value of NAME. One that the live release declares needs --force."""
    _check(name)
    if data_dir is not None:
        from clowdy.server.cli import machine

        answer = machine.remove_secret(data_dir, project_here(project, remote), name, force=force)
    else:
        target = resolve(project, remote)
        path = f"{target.path}/secrets/{address.segment(name)}"
        with Client(target) as client:
            answer = client.delete(path, force=1 if force else None)
    if as_json:
        say_json(answer)
    else:
        say(f"Removed {name}.")


def _check(name: str) -> None:
    if "=" in name:
        # What stands on a command line can be read by everyone on the machine.
        raise Misuse("the value is not an argument: clowdy secret set NAME, then type it or give it on standard input")
    if not names.is_environment(name):
        raise Misuse(
            f"{printable(name, 60)!r} is not a secret's name: letters, digits and _, not beginning with a digit"
        )


def _value(name: str) -> str:
    if sys.stdin.isatty():
        value = str(click.prompt(f"Value of {name}", hide_input=True, err=True))
    else:
        content = sys.stdin.buffer.read(_LIMIT + 1)
        if len(content) > _LIMIT:
            raise Failure(f"the value of {name} has more than {_LIMIT // 1024} KB: a secret has 4 KB at most")
        try:
            value = content.decode().removesuffix("\n")
        except UnicodeDecodeError:
            raise Failure(f"the value of {name} is not text in UTF-8: encode it, as base64 for instance") from None
    if not value:
        raise Failure(f"no value came for {name}: nothing was changed")
    return value


def _row(secret: dict[str, Any]) -> tuple[object, ...]:
    words = {True: "yes", False: "no", None: "-"}
    return (
        secret.get("name"),
        words.get(secret.get("set", True)),
        words.get(secret.get("declared")),
        ago(secret.get("updated_at")),
        secret.get("updated_by"),
    )
