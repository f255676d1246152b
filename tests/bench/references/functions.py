"""The same answer by functions-framework."""

from __future__ import annotations

import flask


def hello(request: flask.Request) -> dict[str, str]:
    return {"message": "Hello"}
