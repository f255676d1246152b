"""`clowdy releases`: what was deployed, and how."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import click

from clowdy.server.cli.client import Client
from clowdy.server.cli.failure import Misuse
from clowdy.server.cli.output import (
    ago,
    clock,
    milliseconds,
    note,
    say,
    say_json,
    say_painted,
    say_table,
    seconds,
    short,
)
from clowdy.server.cli.program import Verbs
from clowdy.server.cli.target import json_option, project_options, resolve

_PUSH_ID = re.compile(r"[0-9a-f]{12}")
_NUMBER = re.compile(r"(?:deploy/)?([1-9][0-9]{0,8})")
_HEAD = ("RELEASE", "STATE", "COMMIT", "WHEN", "WHO", "HOW", "SUBJECT")


@click.group("releases", cls=Verbs, invoke_without_command=True)
@click.option("--all", "everything", is_flag=True, help="Pushes that made no release too: refused, planned, cancelled.")
@click.option("-n", "limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many at most.")
@project_options
@json_option
@click.pass_context
def command(
    context: click.Context, everything: bool, limit: int, project: str | None, remote: str | None, as_json: bool
) -> None:
    """List the project's releases, newest first. `releases show N|PUSH` shows one with its plan and output."""
    context.obj = (project, remote, as_json)
    if context.invoked_subcommand is not None:
        return
    target = resolve(project, remote)
    path = target.path
    with Client(target) as client:
        releases = client.every(f"{path}/releases", limit=limit)
        pushes = client.every(f"{path}/pushes", all=1, limit=limit) if everything else []
    entries = releases + [push for push in pushes if push.get("release") is None]
    entries.sort(key=_moment, reverse=True)
    for entry in entries[:limit] if as_json else ():
        say_json(entry)
    if not as_json:
        if not entries:
            note("no releases yet: git push clowdy main makes the first")
        say_table([_row(entry) for entry in entries[:limit]], head=_HEAD)


@command.command("show")
@click.argument("which", metavar="N|PUSH")
@project_options
@json_option
@click.pass_context
def show(context: click.Context, which: str, project: str | None, remote: str | None, as_json: bool) -> None:
    """Show the release deploy/N, or the push with the id PUSH, with its plan and output."""
    outer_project, outer_remote, outer_json = context.obj
    target = resolve(project or outer_project, remote or outer_remote)
    number = _NUMBER.fullmatch(which)
    if _PUSH_ID.fullmatch(which):
        path = f"{target.path}/pushes/{which}"
    elif number:
        path = f"{target.path}/releases/{number[1]}"
    else:
        raise Misuse(f"{which!r} is neither a release's number nor a push's id: see clowdy releases --all")
    with Client(target) as client:
        entry = client.get(path)
    if as_json or outer_json:
        say_json(entry)
    else:
        _print_one(entry)


def _row(entry: Mapping[str, Any]) -> tuple[object, ...]:
    if "tag" in entry or "functions" in entry:
        state = entry.get("state")
        return (
            entry.get("tag") or f"deploy/{entry.get('release')}",
            state,
            short(entry.get("commit")),
            ago(entry.get("created_at")),
            entry.get("who"),
            entry.get("how"),
            entry.get("subject"),
        )
    return (
        f"push {entry.get('id')}",
        entry.get("state"),
        short(_commit(entry)),
        ago(entry.get("started_at")),
        entry.get("who"),
        "push",
        entry.get("reason"),
    )


def _print_one(entry: Mapping[str, Any]) -> None:
    title = entry.get("tag") or (f"push {entry['id']}" if "id" in entry else "release")
    say_painted(f"{title}  {entry.get('state') or ''}".rstrip(), bold=True)
    facts = {
        "commit": f"{short(_commit(entry))} {entry.get('subject') or ''}".rstrip(),
        "who": f"{entry.get('who') or '-'}, {entry.get('how') or 'push'}",
        "when": clock(entry.get("created_at", entry.get("started_at"))),
        "took": milliseconds(entry.get("duration_ms")),
        "before": entry.get("previous"),
        "reason": entry.get("reason"),
    }
    say_table([(name, value) for name, value in facts.items() if value not in (None, "", "-")])
    functions = entry.get("functions") or ()
    if functions:
        say("\nfunctions")
        say_table([(f"  {item.get('name')}", f"v{item.get('version')}{_pin(item)}") for item in functions])
    # What the push said begins with the plan; a release that no push made has the plan alone.
    output, plan = entry.get("output"), entry.get("plan")
    if output:
        say(f"\noutput\n{output.rstrip()}")
    elif isinstance(plan, dict):
        say(f"\nplan\n{_plan(plan)}")


def _plan(plan: Mapping[str, Any]) -> str:
    from clowdy.hooks.plan import Plan
    from clowdy.hooks.report import plan_text

    try:
        return "\n".join(plan_text(Plan.from_json(plan)))
    except ValueError:
        # A server of another version has other plans.
        return json.dumps(plan, indent=2, ensure_ascii=False)


def _pin(function: Mapping[str, Any]) -> str:
    return " (pinned)" if function.get("pinned") else ""


def _moment(entry: Mapping[str, Any]) -> float:
    return seconds(entry.get("created_at", entry.get("started_at"))) or 0.0


def _commit(entry: Mapping[str, Any]) -> object:
    if entry.get("commit"):
        return entry["commit"]
    refs = entry.get("refs") or ()
    first = refs[0] if refs else None
    if isinstance(first, dict):
        return first.get("new")
    return first[1] if isinstance(first, list) and len(first) > 1 else None
