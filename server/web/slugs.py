"""Project names made of what people call a project."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from clowdy.schema.names import is_project

_LONGEST = 40
_FALLBACK = "project"


def slug(text: str) -> str:
    """A project's name that resembles `text`: `My API!` is `my-api`. Always a valid one."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9\s_-]", "", plain)
    name = re.sub(r"[\s_-]+", "-", words).strip("-")
    if name and not name[0].isalpha():
        name = f"p-{name}"
    name = name[:_LONGEST].rstrip("-")
    if len(name) == 1:
        name = f"{_FALLBACK}-{name}"
    return name if is_project(name) else _FALLBACK


def free_slug(text: str, is_free: Callable[[str], bool]) -> str:
    """The first of `my-api`, `my-api-1`, `my-api-2` … that is free."""
    base = slug(text)
    number = 0
    name = base
    while not is_free(name):
        number += 1
        ending = f"-{number}"
        name = base[: _LONGEST - len(ending)].rstrip("-") + ending
    return name
