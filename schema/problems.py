"""One problem of a push: where it stands, what it is called, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A problem at one place of one file; `line` and `column` count from 1.

    `code` is a stable kebab-case word (`route-duplicate`). `message` says what was found in one line without
    a final full stop; `hint` says what to do, or is empty. `source` is the line that it concerns, or the part of it
    around `column` before which `skipped` characters stand; it is empty when a file or path as a whole is meant.
    `length` is how many characters the caret marks.
    """

    file: str
    line: int
    column: int
    code: str
    message: str
    hint: str = ""
    source: str = ""
    length: int = 1
    skipped: int = 0

    def as_json(self) -> dict[str, Any]:
        """The object that the API and `format=json` show."""
        return {
            "file": self.file,
            "line": self.line,
            "col": self.column,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        }
