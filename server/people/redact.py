"""Takes secret values out of text that people will read."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

MASK = "********"
# Shorter values are words like "true" or "80", which would be masked all over innocent text.
SHORTEST = 4
# A line of a longer value, a private key for instance; and what is left of a value in somebody's larger base64.
SHORTEST_PART = 8


class SecretText(str):
    """The value of a secret: a text like any other, but one that a repr, and so a log or a traceback, does not show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"SecretText({MASK!r})"


class Redactor:
    """Masks values of at least `SHORTEST` characters, line by line, also as `repr`, base64, JSON and URLs have them."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {form for value in values for form in _forms(value)}
        # The longest first: a value may be part of another one.
        self._forms = sorted(forms, key=lambda form: (-len(form), form))
        self._encoded = [form.encode("utf-8", "surrogateescape") for form in self._forms]

    def __bool__(self) -> bool:
        return bool(self._forms)

    def __repr__(self) -> str:
        return f"Redactor({len(self._forms)} forms)"

    def text(self, text: str) -> str:
        """`text` without any of the values."""
        for form in self._forms:
            text = text.replace(form, MASK)
        return text

    def data(self, data: bytes) -> bytes:
        """The same for bytes in UTF-8."""
        for form in self._encoded:
            data = data.replace(form, MASK.encode())
        return data


def _forms(value: str) -> Iterator[str]:
    if len(value.strip()) < SHORTEST:
        return
    yield value
    yield value.strip()
    if len(lines := value.splitlines()) > 1:
        yield from (line for line in map(str.strip, lines) if len(line) >= SHORTEST_PART)
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    yield quote(value)
    yield quote(value, safe="")
    yield quote_plus(value)
    yield from _base64_forms(value.encode("utf-8", "surrogateescape"))


def _base64_forms(data: bytes) -> Iterator[str]:
    # In "user:password" as Basic sends it, the value begins at any of three places of base64's groups. Only the
    # characters that depend on the value alone can be looked for.
    for lead in range(3):
        encoded = base64.b64encode(bytes(lead) + data).decode().rstrip("=")
        first = -(-lead * 8 // 6)
        last = len(encoded) if (lead + len(data)) % 3 == 0 else len(encoded) - 1
        part = encoded[first:last]
        if len(part) >= SHORTEST_PART:
            yield part
            yield part.replace("+", "-").replace("/", "_")
