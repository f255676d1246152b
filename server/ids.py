"""Ids of everything that Clowdy remembers."""

from __future__ import annotations

import secrets


def new_id() -> str:
    """12 hex digits that nobody can guess and nothing else has."""
    return secrets.token_hex(6)
