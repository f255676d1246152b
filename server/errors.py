"""Everything that Clowdy's own code raises, drawn once. The inside raises; the edges translate.

ClowdyError
├── ConfigError            the server's settings are wrong: the process does not start
├── StartError             the server cannot serve here: lock held, git too old, hooks not called
├── NotFound               what was asked for does not exist, or is not the caller's
├── NotAllowed             the caller is known and may not do this
├── NotAuthenticated       nobody is known: no token, or a wrong one
├── Conflict               something moved meanwhile
├── Invalid                the request cannot be done as it was put
├── Refused                a push, or what ends like one, has problems
├── Unavailable            cannot be done now: try again
└── GitError               git itself failed
"""

from __future__ import annotations

from collections.abc import Sequence

from clowdy.schema.problems import Problem


class ClowdyError(Exception):
    """Something went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])

    @property
    def message(self) -> str:
        """One line, fit to be shown."""
        return str(self.args[0])


class ConfigError(ClowdyError):
    """The server's settings are wrong."""


class StartError(ClowdyError):
    """The server cannot serve here."""


class NotFound(ClowdyError):
    """Not found"""


class NotAllowed(ClowdyError):
    """Not allowed"""


class NotAuthenticated(ClowdyError):
    """Missing auth token"""

    retry_after_seconds: int | None = None


class Conflict(ClowdyError):
    """It changed meanwhile"""


class Invalid(ClowdyError):
    """Invalid request"""


class Refused(ClowdyError):
    """The change has problems and nothing was deployed"""

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class Unavailable(ClowdyError):
    """The server is stopping: try again"""


class GitError(ClowdyError):
    """git failed"""
