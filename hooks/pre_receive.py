"""Git's pre-receive hook: reports the push to the server and ends with the status that it answers.

Anything but a whole answer refuses the push.
"""

import posix
import sys

from clowdy.hooks.ask import ask, variable, write


def report() -> int:
    """The hook's exit status."""
    lines = b""
    while piece := posix.read(0, 65536):
        lines += piece
    names = (b"GIT_OBJECT_DIRECTORY", b"GIT_ALTERNATE_OBJECT_DIRECTORIES")
    fields = [variable(b"CLOWDY_PUSH_ID"), posix.getcwdb(), *(variable(name) for name in names), lines]
    try:
        return 0 if ask(b"r", fields) == b"0" else 1
    except OSError:
        write(2, b"the server went away: push again\n")
        return 1


if __name__ == "__main__":
    sys.exit(report())
