"""One file as text with places: bytes in, lines and columns out."""

from __future__ import annotations

import bisect
import re
from typing import NamedTuple

from clowdy.schema.problems import Problem
from clowdy.schema.text import printable
from clowdy.schema.units import KIBIBYTE, format_excess

SIZE_LIMIT_BYTES = 256 * KIBIBYTE
_EXCERPT = 500
_BEFORE = 250
_MESSAGE_LIMIT = 300
_MOST_CONTROL_CHARACTERS = 20

_BYTE_ORDER_MARKS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
# What YAML does not allow, and the characters that end a line for YAML's parser but not for an editor or for git:
# with them a comment could hide a key.
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|\r(?!\n)"
)
_SAVE_AS_UTF8 = "save the file as UTF-8"


class Excerpt(NamedTuple):
    """What is shown of a line, fit for a terminal and never empty, and how many of its characters stand before."""

    text: str
    skipped: int


def excerpt(text: str, column: int, start: int = 0, end: int | None = None) -> Excerpt:
    """The part around `column`, which counts from 1, of the line that `text` has from `start` to `end`."""
    skipped = max(column - 1 - _BEFORE, 0)
    first = start + skipped
    last = min(first + _EXCERPT, len(text) if end is None else end)
    return Excerpt(printable(text[first:last]) or " ", skipped)


class Source:
    """A file's text. Places are indexes into `text`; lines and columns count from 1."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(self, index: int) -> tuple[int, int]:
        """Line and column of `index`."""
        line = bisect.bisect_right(self._starts, index)
        return line, index - self._starts[line - 1] + 1

    def problem(self, start: int, end: int, code: str, message: str, hint: str = "") -> Problem:
        """A problem with the characters from `start` to `end`, as far as they stand on one line."""
        number, column = self.place(start)
        line_start, line_end = self._span(number)
        shown, skipped = excerpt(self.text, column, line_start, line_end)
        return Problem(
            file=self.file,
            line=number,
            column=column,
            code=code,
            message=printable(message, _MESSAGE_LIMIT),
            hint=printable(hint, _MESSAGE_LIMIT),
            source=shown,
            length=max(1, min(end, line_end, line_start + skipped + len(shown)) - start),
            skipped=skipped,
        )

    def _span(self, number: int) -> tuple[int, int]:
        start = self._starts[number - 1]
        end = self._starts[number] - 1 if number < len(self._starts) else len(self.text)
        return start, end - 1 if end > start and self.text[end - 1] == "\r" else end

    def whole(self, code: str, message: str, hint: str = "") -> Problem:
        """A problem of the whole file: at 1:1, without a source line."""
        return Problem(self.file, 1, 1, code, printable(message, _MESSAGE_LIMIT), printable(hint, _MESSAGE_LIMIT))


def excess(file: str, size_bytes: int) -> str:
    """What is said of a file that is too large to be read."""
    size, most = format_excess(size_bytes, SIZE_LIMIT_BYTES)
    return f"{file} has {size}, it may have {most}"


def read_source(content: bytes, file: str) -> tuple[Source, tuple[Problem, ...]]:
    """`content` as text, and why it cannot be read as such. With problems the text may be cut or have replacements."""
    if len(content) > SIZE_LIMIT_BYTES:
        source = Source(file, "")
        return source, (source.whole("file-size", excess(file, len(content)), "make it smaller"),)
    encoding = _foreign_encoding(content)
    if encoding is not None:
        source = Source(file, "")
        return source, (source.whole("encoding", f"{file} is {encoding}, not UTF-8", _SAVE_AS_UTF8),)
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        source = Source(file, content.decode())
    except UnicodeDecodeError as error:
        source = Source(file, content.decode(errors="replace"))
        start = len(content[: error.start].decode())
        found = f"byte 0x{content[error.start]:02x} is not UTF-8"
        return source, (source.problem(start, start + 1, "encoding", found, _SAVE_AS_UTF8),)
    return source, tuple(_forbidden_characters(source))


def _foreign_encoding(content: bytes) -> str | None:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return encoding
    # Without a mark: plain text in UTF-16 has a NUL as every second byte.
    for offset in (0, 1):
        half = content[offset::2]
        if len(half) > 1 and half.count(0) * 2 > len(half):
            return "UTF-16"
    return None


def _forbidden_characters(source: Source) -> list[Problem]:
    problems = []
    for match in _FORBIDDEN.finditer(source.text):
        character = match[0]
        name = "a carriage return without a line feed" if character == "\r" else f"character U+{ord(character):04X}"
        problems.append(
            source.problem(
                match.start(),
                match.end(),
                "encoding",
                f"{name} cannot stand in a YAML file",
                "leave it out" if character == "\r" else 'leave it out or write it in double quotes as "\\u…"',
            )
        )
        if len(problems) == _MOST_CONTROL_CHARACTERS:
            break
    return problems
