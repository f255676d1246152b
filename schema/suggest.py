"""Did you mean …?"""

from __future__ import annotations

import difflib
from collections.abc import Collection

from clowdy.schema.text import quoted

_LONGEST_WORD = 64
_COMPARISONS = 4000
_LIKENESS = 0.65


class Suggester:
    """Finds what somebody meant, within a budget: a hostile file gets fewer suggestions, never a slow answer."""

    def __init__(self) -> None:
        self._comparisons_left = _COMPARISONS

    def nearest(self, word: str, known: Collection[str]) -> str | None:
        """The one of `known` that `word` was probably meant to be, or None."""
        if len(word) > _LONGEST_WORD or len(known) > self._comparisons_left:
            return None
        self._comparisons_left -= len(known)
        by_lower_case = {candidate.lower(): candidate for candidate in known if len(candidate) <= _LONGEST_WORD}
        found = difflib.get_close_matches(word.lower(), by_lower_case, n=1, cutoff=_LIKENESS)
        return by_lower_case[found[0]] if found else None

    def hint(self, word: str, known: Collection[str]) -> str:
        """`did you mean "timeout"?`, or nothing."""
        meant = self.nearest(word, known)
        return "" if meant is None else f"did you mean {quoted(meant)}?"
