"""`clowdy doctor`: what this machine has and lacks, and how to mend it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

import click

from clowdy.server.cli.base_image import make_base_image, show_made
from clowdy.server.cli.failure import Failure
from clowdy.server.cli.output import say, say_json, say_painted
from clowdy.server.cli.serve import RUNTIMES
from clowdy.server.cli.target import json_option

_COLOURS = {"ok": "green", "warning": "yellow", "missing": "red"}


@click.command("doctor")
@click.option("--data-dir", metavar="DIR", help="The server's data directory.  [.clowdy]")
@click.option("--runtime", type=click.Choice(RUNTIMES), help="What functions would run in.  [the server's setting]")
@click.option("--config", metavar="FILE", help="The server's TOML file.  [DIR/clowdy.toml]")
@click.option(
    "--make-base-image",
    "makes_image",
    is_flag=True,
    help="Make a base image for the docker runtime from this machine's Python, for an engine without a registry.",
)
@json_option
def command(makes_image: bool, as_json: bool, config: str | None, **options: str | None) -> None:
    """Check git, the sandbox or Docker and which limits hold, the database, the disk; say how to mend what is missing.

    Works on the machine itself, with or without a running server, by the server's settings. Exits 1 when something is
    missing that a server or every function needs.
    """
    if makes_image:
        show_made(make_base_image(), as_json=as_json)
        return
    report = _examine(options, config)
    findings: Sequence[Mapping[str, str]] = report["findings"]
    if as_json:
        say_json(report)
    else:
        _print(findings)
    missing = [finding["name"] for finding in findings if finding["state"] == "missing"]
    if missing:
        raise Failure(f"missing: {', '.join(missing)}")
    if not as_json:
        say("Nothing is missing.")


def _examine(options: Mapping[str, object], file: str | None) -> Mapping[str, Any]:
    from clowdy.server import runtime
    from clowdy.server.config import Config
    from clowdy.server.doctor.report import report
    from clowdy.server.errors import ClowdyError, ConfigError

    try:
        config = Config.load(options, os.environ, file or os.environ.get("CLOWDY_CONFIG"))
        runtime.prepare_process(config)
        return asyncio.run(report(config, runtime.make_driver))
    except ConfigError as error:
        raise Failure(error.message, exit_code=2) from None
    except ClowdyError as error:
        raise Failure(error.message) from None


def _print(findings: Sequence[Mapping[str, str]]) -> None:
    width = max(len(finding["name"]) for finding in findings)
    for finding in findings:
        text = f"  {finding['name']:<{width}}  {finding['found']}"
        say_painted(f"{finding['state']:<7}", text, fg=_COLOURS.get(finding["state"]))
        if finding["cure"]:
            what = "better" if finding["state"] == "ok" else "mend it"
            say(f"{'':<7}  {'':<{width}}  {what}: {finding['cure']}")
