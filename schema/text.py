"""Text of strangers on its way to a terminal, a page or a log."""

from __future__ import annotations

import re

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"

# What can move a cursor, start an escape sequence, end a line, turn the reading direction or hide: C0, DEL and C1,
# soft hyphen, zero-width and bidirectional marks, line and paragraph separators, interlinear and tag characters, and
# lone surrogates, which no output can encode. ZWNJ and ZWJ stay: Persian, Indic scripts and emoji need them.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff0-\ufffb\ufffe\uffff"
    "\U000e0000-\U000e0fff]"
)
_BLANKS = frozenset("\t\n\v\f\r\x85\u2028\u2029")


def printable(text: str, limit: int | None = None) -> str:
    """`text` as one line that cannot act on a terminal, at most `limit` characters long.

    Each unsafe character becomes one other, a space or U+FFFD, so that columns stay what they were.
    """
    if limit is not None and len(text) > limit:
        text = text[: max(limit - 1, 0)] + ELLIPSIS
    return _UNSAFE.sub(_replace, text)


def _replace(match: re.Match[str]) -> str:
    return " " if match[0] in _BLANKS else REPLACEMENT


def quoted(text: str, limit: int = 60) -> str:
    """`text` in double quotes, fit to stand in a message."""
    return f'"{printable(text, limit)}"'
