"""How a verb ends badly: one exception, printed as `clowdy: …` on standard error, with an exit code."""

from __future__ import annotations

from collections.abc import Sequence

NOT_BUILT = "not available in this version"


class Failure(Exception):
    """A verb could not do what it was asked; `message` says what was found and what to do.

    `details` are further lines, printed after it as they are. The exit code is 1, or 2 where the command line
    itself was wrong.
    """

    def __init__(self, message: str, *, details: Sequence[str] = (), exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.exit_code = exit_code


class Misuse(Failure):
    """The command line cannot be understood, or asks for what this version does not have."""

    def __init__(self, message: str, *, details: Sequence[str] = ()) -> None:
        super().__init__(message, details=details, exit_code=2)


class NotThere(Failure):
    """The server does not have what was asked for."""
