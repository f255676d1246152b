"""What the API says: JSON, times in ISO 8601, one shape for every error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import web


def as_json(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A response with `value` as its body."""
    return web.Response(
        body=dump(value), status=status, headers=headers, content_type="application/json", charset="utf-8"
    )


def error(
    detail: str, request_id: str, *, status: int, headers: Mapping[str, str] | None = None, **more: Any
) -> web.Response:
    """The response of every error."""
    return as_json({"detail": detail, **more, "request_id": request_id}, status=status, headers=headers)


def dump(value: object) -> bytes:
    """`value` as JSON in UTF-8, also where text of git's holds what UTF-8 cannot say."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def moment(seconds: float | None) -> str | None:
    """A time of the store, in ISO 8601."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
