"""Calls as the gateway hands them to the journal."""

from __future__ import annotations

import json
from typing import Any

from clowdy.server.serve.call_ids import CallIds
from clowdy.server.serve.exchange import CallRecord
from clowdy.server.serve.table import ProjectTable, Target

SHOP = ProjectTable("0000000000aa", "shop", 7)
OTHER = ProjectTable("0000000000bb", "other", 1)
HELLO = Target("00000000a001", "hello", None, version=3)
USERS = Target("00000000a002", "users", None, version=1)

new_id = CallIds()


def head(path: str = "/", query: str = "", method: str = "GET", **headers: str) -> bytes:
    """The JSON of a gateway call's head."""
    content = {
        "trigger": "gateway",
        "request_id": "0123456789ab",
        "release": 7,
        "timeout": 30,
        "method": method,
        "path": path,
        "params": {},
        "query": query,
        "headers": headers,
    }
    return json.dumps(content).encode()


def call(**changes: Any) -> CallRecord:
    """A call that succeeded, except for `changes`."""
    values: dict[str, Any] = {
        "id": new_id(),
        "at": 1_790_000_000.25,
        "project": SHOP,
        "target": HELLO,
        "trigger": "gateway",
        "method": "GET",
        "path": "/",
        "status": "success",
        "http_status": 200,
        "code": None,
        "duration_ms": 1.25,
        "cold_start": False,
        "event": head(),
        "body": b"",
        "answer_head": b"",
        "answer": b'{"hello":"world"}',
        "log": b"",
        "error": "",
    }
    return CallRecord(**(values | changes))


def direct(**changes: Any) -> CallRecord:
    """A direct call."""
    values = {
        "trigger": "direct",
        "method": None,
        "path": None,
        "http_status": None,
        "event": b'{"trigger":"direct","request_id":"0123456789ab","release":7,"timeout":30}',
        "body": b'{"name":"Ana"}',
    }
    return call(**(values | changes))
