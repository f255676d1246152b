"""The API's description in OpenAPI 3.1, made of the table that it is served from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from clowdy.server.people.auth import Right
from clowdy.server.web.endpoints import Endpoint

_PARAMETER = re.compile(r"\{(\w+)\}")
_NEEDS = {
    Right.READ: "Needs a token of scope read.",
    Right.DEPLOY: "Needs a token of scope deploy.",
    Right.ADMIN: "Needs a token of scope admin.",
    Right.CREATE: "Needs a token of scope admin that is not for one project.",
    Right.SERVER: "Needs a token of scope admin that is not for one project.",
}
_ERROR = {
    "type": "object",
    "required": ["detail", "request_id"],
    "properties": {
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "problems": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "file": {"type": "string"},
                    "line": {"type": "integer"},
                    "col": {"type": "integer"},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                    "hint": {"type": "string"},
                },
            },
        },
    },
}


def describe(version: str, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {
        "/api/health": {"get": _public("health", "Whether the server is up.")},
        "/api/invoke/{function}": {
            "post": _invoke("invoke", "Calls a function by its id; needs a token where it says `public: false`.")
        },
        "/api/invoke/{project}/{function}": {
            "post": _invoke("invoke_by_name", "Calls a function by its name.", names=("project", "function"))
            | {"security": [{"token": []}], "description": _NEEDS[Right.READ]}
        },
    }
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Clowdy", "version": version},
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _ERROR},
        },
        "security": [{"token": []}],
        "paths": paths,
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "description": _NEEDS[endpoint.right],
        "operationId": f"{endpoint.handle.__module__.rpartition('.')[2]}.{_name(endpoint)}",
        "tags": [endpoint.handle.__module__.rpartition(".")[2]],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PARAMETER.findall(endpoint.path)
        ],
        "responses": {
            "200": {"description": "Done", "content": {"application/json": {}}},
            "default": {
                "description": "Not done",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if endpoint.method in {"POST", "PUT"}:
        operation["requestBody"] = {"content": {"application/json": {"schema": {"type": "object"}}}}
    return operation


def _name(endpoint: Endpoint) -> str:
    return str(getattr(endpoint.handle, "__name__", endpoint.method.lower()))


def _public(name: str, summary: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "operationId": f"public.{name}",
        "tags": ["public"],
        "security": [],
        "responses": {"200": {"description": "Done", "content": {"application/json": {}}}},
    }


def _invoke(name: str, summary: str, names: Sequence[str] = ("function",)) -> dict[str, Any]:
    answer = {
        "type": "object",
        "required": ["success", "duration_ms", "invocation_id", "cold_start"],
        "properties": {
            "success": {"type": "boolean"},
            "output": {},
            "error": {"type": "string"},
            "duration_ms": {"type": "number"},
            "invocation_id": {"type": "string"},
            "cold_start": {"type": "boolean"},
        },
    }
    return _public(name, summary) | {
        "parameters": [{"name": part, "in": "path", "required": True, "schema": {"type": "string"}} for part in names],
        "requestBody": {
            "content": {"application/json": {"schema": {"type": "object", "properties": {"input": {"type": "object"}}}}}
        },
        "responses": {
            "200": {"description": "It was called", "content": {"application/json": {"schema": answer}}},
            "default": {
                "description": "It was not called",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
