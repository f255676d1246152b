"""The shapes that names may have, in one place for the schema, the server and the command line."""

from __future__ import annotations

import re

PROJECT = r"[a-z][a-z0-9-]{0,38}[a-z0-9]"
FUNCTION = r"[A-Za-z_][A-Za-z0-9_-]{0,62}"
ENVIRONMENT = r"[A-Za-z_][A-Za-z0-9_]*"
PARAMETER = r"[A-Za-z_][A-Za-z0-9_]*"

_project = re.compile(PROJECT)
_environment = re.compile(ENVIRONMENT)
# Surrogates stand for bytes that are not UTF-8.
_token = re.compile("[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


def is_project(name: str) -> bool:
    """Whether `name` may be a project's name."""
    return _project.fullmatch(name) is not None


def is_environment(name: str) -> bool:
    """Whether `name` has the shape of an environment variable; which names are reserved is another question."""
    return _environment.fullmatch(name) is not None


def is_token(text: str) -> bool:
    """Whether `text` can be sent as a token: a preset one may have blanks and letters of any script."""
    return _token.fullmatch(text) is not None
