"""Jinja, set up once: everything that a template is given is escaped."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import fields
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from aiohttp import web
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def render(name: str, context: DataclassInstance) -> web.Response:
    """The page `name` with the fields of `context`, under a policy that allows its own style and nothing else."""
    style, policy = _style(name)
    values = {field.name: getattr(context, field.name) for field in fields(context)}
    text = _environment().get_template(f"{name}.html").render(values, style=style)
    headers = {"Content-Security-Policy": policy, "X-Frame-Options": "DENY"}
    return web.Response(text=text, content_type="text/html", headers=headers)


@cache
def _environment() -> Environment:
    return Environment(loader=FunctionLoader(_read), autoescape=True, undefined=StrictUndefined, auto_reload=False)


@cache
def _style(name: str) -> tuple[Markup, str]:
    text = _read(f"{name}.css")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    # Our own file, which closes no tag.
    return Markup(text), policy  # noqa: S704


def _read(name: str) -> str:
    return files("clowdy.templates").joinpath(name).read_text(encoding="utf-8")
