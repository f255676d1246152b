"""Why one value of a manifest cannot be taken, before it is known where it stands."""

from __future__ import annotations


class Rejection(ValueError):
    """A value that cannot be taken: `message` says what was found, `hint` what to write, `code` names the rule."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
