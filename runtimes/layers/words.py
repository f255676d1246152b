"""What uv prints, made fit to be shown: no colours, no paths of ours, no credentials. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from clowdy.schema.text import printable

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
_MARGIN = re.compile(r"^[\s│]+")
_PROGRESS = re.compile(r"\s*(Resolved|Downloading|Downloaded|Prepared|Installed|Building|Built|warning:|\+ )")
_ERROR = re.compile(r"\s*(?:error:|×)\s*")
_CAUSE = re.compile(r"(?:cause:|Caused by:|[╰├]─▶)\s*")
_HINT = re.compile(r"(hint(?:\[[^\]]*\])?:)\s*")
_LONGEST_LINE = 400
_LONGEST_REASON = 2000


class Words:
    """`hide` takes credentials out of a text, `paths` says what stands for a path of ours, longest first."""

    def __init__(self, hide: Callable[[str], str], paths: Mapping[str, str]) -> None:
        self._hide = hide
        self._paths = sorted(paths.items(), key=lambda pair: len(pair[0]), reverse=True)

    def clean(self, line: str) -> str:
        """One line, fit to be shown."""
        line = self._hide(_ANSI.sub("", line))
        for path, name in self._paths:
            line = line.replace(path, name)
        return printable(line.rstrip())

    def progress(self, line: str) -> str | None:
        """The line as progress; None for what tells nobody anything."""
        shown = self.clean(line)
        return printable(shown.strip(), _LONGEST_LINE) if _PROGRESS.match(shown) else None

    def reason(self, lines: Sequence[str]) -> str:
        """Why uv gave up, in one line; empty when it did not say."""
        cleaned = [self.clean(line) for line in lines]
        start = next((number for number, line in enumerate(cleaned) if _ERROR.match(line)), None)
        told = cleaned if start is None else cleaned[start:]
        text = ""
        for line in told:
            bare = _ERROR.sub("", _MARGIN.sub("", line), count=1).strip()
            if not bare or (start is None and _PROGRESS.match(line)):
                continue
            if not text:
                text = bare.removesuffix(":")
            elif _CAUSE.match(bare):
                text += f": {_CAUSE.sub('', bare, count=1)}"
            elif (hint := _HINT.match(bare)) is not None:
                text += f"; hint: {bare[hint.end() :]}"
            else:
                text += f" {bare}"
        return printable(text, _LONGEST_REASON)
