"""`clowdy logs`: calls and what they printed, as they were and as they come."""

from __future__ import annotations

import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from clowdy.server.cli.client import Client, Lost
from clowdy.server.cli.failure import NotThere
from clowdy.server.cli.output import clock, milliseconds, note, say, say_json, say_painted
from clowdy.server.cli.target import Target, json_option, project_options, resolve

_ID = re.compile(r"[0-9a-f]{12}")
_PAGE = 100
_REMEMBERED = 10_000
_PAUSES = (0.5, 1.0, 2.0, 5.0)
_COLOURS = {"success": "green", "error": "red", "timeout": "yellow"}


@click.command("logs")
@click.argument("which", required=False, metavar="[FUNCTION|ID]")
@click.option("-n", "count", type=click.IntRange(0, 100_000), default=20, show_default=True, help="How many at most.")
@click.option("-f", "--follow", is_flag=True, help="Go on with calls as they come.")
@project_options
@json_option
def command(
    which: str | None, count: int, follow: bool, project: str | None, remote: str | None, as_json: bool
) -> None:
    """Show the latest calls of the project, or of one FUNCTION, the oldest of them first.

    With the ID of one call, which every answer has in its X-Request-Id header, show that call alone.
    """
    target = resolve(project, remote)
    tell = say_json if as_json else _tell
    with Client(target) as client:
        if which is not None and _ID.fullmatch(which) and (call := _one(client, which)) is not None:
            tell(call)
        elif follow:
            Follower(client, target, which, tell).run(count)
        else:
            calls = latest(client, target, which, count)
            for call in calls:
                tell(call)
            if not calls and not as_json:
                note("no calls yet")


def latest(client: Client, target: Target, function: str | None, count: int) -> list[dict[str, Any]]:
    """The latest `count` calls, the oldest of them first."""
    calls: list[dict[str, Any]] = []
    while len(calls) < count:
        limit = min(_PAGE, count - len(calls))
        before = calls[-1].get("id") if calls else None
        page = client.every(f"{target.path}/invocations", function=function, limit=limit, before=before)
        calls += page
        if len(page) < limit:
            break
    return calls[::-1]


class Follower:
    """Tells of each call once, over broken connections and restarts of the server."""

    def __init__(
        self,
        client: Client,
        target: Target,
        function: str | None,
        tell: Callable[[Mapping[str, Any]], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._target = target
        self._function = function
        self._tell = tell
        self._sleep = sleep
        self._told: OrderedDict[object, None] = OrderedDict()

    def run(self, count: int) -> None:
        """Goes on until it is interrupted; raises Failure for what trying again cannot mend."""
        failures = 0
        connected = complained = False
        while True:
            try:
                # The stream is open before the past is read: nothing falls between the two.
                with self._client.events(f"{self._target.path}/invocations/stream", function=self._function) as events:
                    past = _PAGE if connected else count
                    self._tell_new(latest(self._client, self._target, self._function, past))
                    connected, complained, failures = True, False, 0
                    self._tell_new(events)
            except KeyboardInterrupt:
                return
            except Lost as lost:
                if not connected:
                    raise
                if not complained:
                    note(f"{lost.message}; trying again until you stop it")
                complained = True
            try:
                self._sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
            except KeyboardInterrupt:
                return
            failures += 1

    def _tell_new(self, calls: Iterable[Mapping[str, Any]]) -> None:
        for call in calls:
            key = call.get("id")
            if key in self._told:
                continue
            self._told[key] = None
            if len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)
            self._tell(call)


def _one(client: Client, call_id: str) -> Mapping[str, Any] | None:
    try:
        return client.get(f"/api/invocations/{call_id}")
    except NotThere:
        # A function's name or id can look the same.
        return None


def _tell(call: Mapping[str, Any]) -> None:
    status = str(call.get("status", ""))
    release = call.get("release")
    parts = [
        clock(call.get("time", call.get("created_at"))),
        f"{call.get('function')} v{call.get('version')}" if call.get("version") else str(call.get("function")),
        f"deploy/{release}" if release else "",
        " ".join(str(call[name]) for name in ("method", "path") if call.get(name)) or str(call.get("trigger") or ""),
        str(call.get("http_status") or ""),
        status if not call.get("code") else f"{status} {call['code']}",
        milliseconds(call.get("duration_ms")),
        "cold" if call.get("cold_start") else "",
        str(call.get("id") or ""),
    ]
    say_painted("  ".join(part for part in parts if part), fg=_COLOURS.get(status))
    log = call.get("log")
    if log:
        for line in (log if isinstance(log, str) else json.dumps(log)).rstrip("\n").split("\n"):
            say(f"    {line}")
