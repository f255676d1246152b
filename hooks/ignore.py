"""`.clowdyignore`: gitignore's rules as git itself applies them, in time that no pattern can blow up.

The usual libraries turn a pattern into a backtracking regular expression: `*a*a*a*a*a*a*a*a*b` then takes a minute
for one name of 60 letters. Here every `*` but the last commits to its first match, which for globs loses nothing.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

PATTERNS = 200
PATTERN_LENGTH = 200
FILE_BYTES = 64 * 1024

_ANY = "[^/]"
_NEVER = "(?!)"
_CLASSES = {
    "alnum": string.ascii_letters + string.digits,
    "alpha": string.ascii_letters,
    "blank": " \t",
    "cntrl": "".join(map(chr, [*range(32), 127])),
    "digit": string.digits,
    "graph": "".join(map(chr, range(33, 127))),
    "lower": string.ascii_lowercase,
    "print": "".join(map(chr, range(32, 127))),
    "punct": string.punctuation,
    "space": " \t\n\r",
    "upper": string.ascii_uppercase,
    "xdigit": string.hexdigits,
}


class IgnoreError(ValueError):
    """A `.clowdyignore` that is refused; `line` counts from 1, `source` is its text, empty where all is meant."""

    def __init__(self, line: int, message: str, source: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.message = message
        self.source = source


class _Invalid(Exception):
    """A pattern that git would never match: an open bracket, a last backslash."""


class _Pattern(NamedTuple):
    """One line. `segments` has None for `**`; `anywhere` means that the last name alone is compared."""

    leaves_out: bool
    folders_only: bool
    anywhere: bool
    segments: tuple[re.Pattern[str] | None, ...]


@dataclass(frozen=True, slots=True)
class Ignore:
    """The patterns of one file, first to last. Names are compared byte by byte, as git does."""

    patterns: tuple[_Pattern, ...]

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """The patterns in `content`; raises IgnoreError where there are more or longer ones than are accepted."""
        if len(content) > FILE_BYTES:
            raise IgnoreError(1, f"more than {FILE_BYTES // 1024} KB")
        patterns: list[_Pattern] = []
        for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").decode("latin-1").split("\n"), start=1):
            text = _trimmed(line.removesuffix("\r"))
            if not text or text.startswith("#"):
                continue
            if len(text) > PATTERN_LENGTH:
                raise IgnoreError(number, f"a pattern has at most {PATTERN_LENGTH} characters", _shown(text))
            if len(patterns) == PATTERNS:
                raise IgnoreError(number, f"more than {PATTERNS} patterns", _shown(text))
            pattern = _pattern(text)
            if pattern is not None:
                patterns.append(pattern)
        return cls(tuple(patterns))

    def matcher(self) -> Matcher:
        """A fresh memory for one walk."""
        return Matcher(self.patterns)


class Matcher:
    """Answers for the paths of one walk, remembering the folders on the way."""

    def __init__(self, patterns: Sequence[_Pattern]) -> None:
        self._folder_patterns = tuple(reversed(patterns))
        self._file_patterns = tuple(pattern for pattern in self._folder_patterns if not pattern.folders_only)
        self._folders: dict[str, bool] = {"": False}

    def leaves_out(self, path: str) -> bool:
        """Whether the file, symlink or submodule at `path` is left out, itself or with a folder above it."""
        if not path.isascii():
            path = path.encode("utf-8", "surrogateescape").decode("latin-1")
        folder, _, name = path.rpartition("/")
        return self._folder(folder) or _decide(self._file_patterns, path, name)

    def _folder(self, folder: str) -> bool:
        known = self._folders.get(folder)
        if known is not None:
            return known
        # From the top down, without recursion: depth is what a stranger chooses. What lies in a folder that is left
        # out cannot come back by a later `!`.
        parts = folder.split("/")
        out = False
        for end in range(1, len(parts) + 1):
            above = "/".join(parts[:end])
            seen = self._folders.get(above)
            if seen is None:
                seen = out or _decide(self._folder_patterns, above, parts[end - 1])
                self._folders[above] = seen
            out = seen
        return out


def _decide(patterns: Sequence[_Pattern], path: str, name: str) -> bool:
    """The verdict of the first of `patterns`, last line first, that matches."""
    parts: list[str] | None = None
    for pattern in patterns:
        if pattern.anywhere:
            segment = pattern.segments[0]
            if segment is None or segment.fullmatch(name):
                return pattern.leaves_out
        else:
            if parts is None:
                parts = path.split("/")
            if _match(pattern.segments, parts):
                return pattern.leaves_out
    return False


def _match(segments: Sequence[re.Pattern[str] | None], parts: Sequence[str]) -> bool:
    """Whether all of `parts` match; after a `**` the first place that fits is as good as any later one."""
    position = 0
    resume: tuple[int, int] | None = None
    index = 0
    while position < len(parts):
        if index < len(segments):
            segment = segments[index]
            if segment is None:
                if index == len(segments) - 1:
                    return True
                index += 1
                resume = (index, position)
                continue
            if segment.fullmatch(parts[position]):
                index += 1
                position += 1
                continue
        if resume is None:
            return False
        index, position = resume[0], resume[1] + 1
        resume = (index, position)
    return index == len(segments)


def _shown(text: str) -> str:
    """A line as its author wrote it."""
    return text.encode("latin-1").decode(errors="replace")


def _trimmed(line: str) -> str:
    """`line` without trailing spaces, except one that a backslash protects."""
    kept = line.rstrip(" ")
    backslashes = len(kept) - len(kept.rstrip("\\"))
    return f"{kept} " if backslashes % 2 and len(kept) < len(line) else kept


def _pattern(text: str) -> _Pattern | None:
    """One line's pattern, or None for one that matches nothing."""
    leaves_out = not text.startswith("!")
    if not leaves_out:
        text = text[1:]
    folders_only = text.endswith("/")
    if folders_only:
        text = text[:-1]
    if not text:
        return None
    anywhere = "/" not in text
    try:
        segments = _segments(text.removeprefix("/"))
    except _Invalid:
        return None
    if anywhere:
        return _Pattern(leaves_out, folders_only, True, segments)
    return _Pattern(leaves_out, folders_only, False, segments)


def _segments(text: str) -> tuple[re.Pattern[str] | None, ...]:
    segments: list[re.Pattern[str] | None] = []
    pieces: list[str] = []
    stars = 0

    def close() -> None:
        if pieces == ["*"] and stars >= 2:
            segments.append(None)
        else:
            segments.append(re.compile(_regex(pieces), re.DOTALL))
        pieces.clear()

    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == "*":
            stars = stars + 1 if pieces and pieces[-1] == "*" else 1
            if stars == 1:
                pieces.append("*")
        elif character == "/":
            close()
        elif character == "?":
            pieces.append(_ANY)
        elif character == "[":
            piece, position = _bracket(text, position)
            pieces.append(piece)
        elif character == "\\":
            if position == len(text):
                raise _Invalid
            if text[position] == "/":
                close()
            else:
                pieces.append(re.escape(text[position]))
            position += 1
        else:
            pieces.append(re.escape(character))
    close()
    return tuple(segments)


def _regex(pieces: Sequence[str]) -> str:
    """Chunks between stars; an atomic group for each star but the last keeps matching linear."""
    chunks = [""]
    for piece in pieces:
        if piece == "*":
            chunks.append("")
        else:
            chunks[-1] += piece
    if len(chunks) == 1:
        return chunks[0]
    middle = "".join(f"(?>[^/]*?{chunk})" for chunk in chunks[1:-1])
    return f"{chunks[0]}{middle}[^/]*{chunks[-1]}"


def _bracket(text: str, position: int) -> tuple[str, int]:
    """The regular expression of a bracket whose `[` ends at `position`, and where the text goes on."""
    negated = text[position : position + 1] in ("!", "^")
    position += negated
    members: set[int] = set()
    previous: int | None = None
    first = True
    while True:
        if position >= len(text):
            raise _Invalid
        character = text[position]
        if character == "]" and not first:
            break
        first = False
        if character == "[" and text[position + 1 : position + 2] == ":":
            end = text.find("]", position + 2)
            if end < 0:
                raise _Invalid
            if text[end - 1] == ":" and end - 1 > position + 1:
                name = text[position + 2 : end - 1]
                if name not in _CLASSES:
                    raise _Invalid
                members.update(map(ord, _CLASSES[name]))
                previous = None
                position = end + 1
                continue
            # `[:` without its `:]` is two ordinary characters.
        if character == "-" and previous is not None and position + 1 < len(text) and text[position + 1] != "]":
            position += 1
            if text[position] == "\\":
                position += 1
                if position >= len(text):
                    raise _Invalid
            members.update(range(previous, ord(text[position]) + 1))
            previous = None
            position += 1
            continue
        if character == "\\":
            position += 1
            if position >= len(text):
                raise _Invalid
        previous = ord(text[position])
        members.add(previous)
        position += 1
    chosen = set(range(256)) - members if negated else members
    chosen.discard(ord("/"))
    listed = "".join(f"\\x{code:02x}" for code in sorted(chosen))
    return (f"[{listed}]" if listed else _NEVER), position + 1
