"""A request to a candidate: what `checks` in clowdy.yaml ask of a release before it goes live."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from clowdy.schema.manifest import CheckSpec
from clowdy.schema.text import printable
from clowdy.server.serve.call_ids import new_call_id
from clowdy.server.serve.gateway import Gateway, Place, Refusal, failure_of
from clowdy.server.serve.requests import split_target, tell_more
from clowdy.server.serve.table import PREFIX, Mount, ProjectTable

SHOWN_CHARACTERS = 200

_NOBODY = {"client": None, "scheme": "http", "http_version": "1.1"}

Show = Callable[[str], str]


async def check(gateway: Gateway, project: ProjectTable, wanted: CheckSpec, redact: Callable[[str], str]) -> str | None:
    """What is wrong with the candidate's answer, or None. `gateway` should keep no records of its calls.

    `redact` takes secret values out of the answer before it is cut to what is told of it.
    """

    def show(text: str) -> str:
        return printable(redact(text), SHOWN_CHARACTERS)

    mount = Mount(project, f"{PREFIX}{project.name}")
    path, query = split_target(wanted.path)
    routed = gateway.route(project, wanted.method, path)
    if isinstance(routed, Refusal):
        return _status(wanted, routed.status, routed.detail, show)
    place = Place(mount, path, query, False)
    exchange = gateway.exchange(mount, routed, new_call_id(), wanted.method, place, {"host": "check"})
    exchange.tell = lambda head: tell_more(head, _NOBODY)
    refusal = await gateway.begin(exchange)
    if refusal is None:
        try:
            await exchange.begun()
            if exchange.streams:
                await exchange.whole()
        finally:
            exchange.cancel()
        refusal = failure_of(exchange) if exchange.failure is not None else None
    if refusal is not None:
        lines = redact(refusal.error).strip().splitlines()
        return _status(wanted, refusal.status, lines[-1] if lines else refusal.detail, show)
    assert exchange.answer is not None
    body = exchange.answer_bytes
    if exchange.answer.status != wanted.status:
        return _status(wanted, exchange.answer.status, body.decode(errors="replace"), show)
    if not wanted.has_json:
        return None
    try:
        found = json.loads(body)
    except ValueError:
        return f"the answer is not JSON: {show(body.decode(errors='replace'))}"
    where = _difference(wanted.json, found, "", show)
    return where and f"{where} in {show(_as_json(found))}"


def _status(wanted: CheckSpec, status: int, text: str, show: Show) -> str | None:
    if status == wanted.status and not wanted.has_json:
        return None
    return f"answered {status}, not {wanted.status}: {show(text)}"


def _difference(wanted: Any, found: Any, place: str, show: Show) -> str | None:
    """Where `wanted` is not contained in `found`: mappings may have more keys, everything else is equal."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            if key not in found:
                return f"{place}{key} is missing"
            difference = _difference(value, found[key], f"{place}{key}.", show)
            if difference:
                return difference
        return None
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for index, (one, other) in enumerate(zip(wanted, found, strict=True)):
            difference = _difference(one, other, f"{place}{index}.", show)
            if difference:
                return difference
        return None
    if wanted == found and isinstance(wanted, bool) == isinstance(found, bool):
        return None
    name = place.rstrip(".") or "the answer"
    return f"{name} is {show(_as_json(found))}, not {show(_as_json(wanted))}"


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
