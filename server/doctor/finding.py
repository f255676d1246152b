"""One line of what `doctor` says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class State(StrEnum):
    """How well something is: MISSING keeps the server, or every function, from running."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and what to do where that is not enough, or could be better."""

    name: str
    state: State
    found: str
    cure: str = ""

    def as_json(self) -> dict[str, str]:
        """The object that the API shows."""
        return asdict(self) | {"state": self.state.value}
