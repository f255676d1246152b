"""Git's proc-receive hook: hands every ref of a push to the server, which moves them, and gives git its verdicts.

Without a whole answer git is told nothing, and refuses every ref.
"""

import posix
import sys

from clowdy.hooks.ask import ask, variable, write

FLUSH = b"0000"


def read(length: int) -> bytes:
    """Exactly so many bytes of what git says."""
    content = b""
    while len(content) < length:
        piece = posix.read(0, length - len(content))
        if not piece:
            raise OSError("git went away")
        content += piece
    return content


def section() -> bytes:
    """The pkt-lines up to the next flush, with it."""
    lines = b""
    while True:
        digits = read(4)
        lines += digits
        if digits == FLUSH:
            return lines
        lines += read(int(digits, 16) - 4)


def answer() -> int:
    """The hook's exit status; the verdicts are on standard output."""
    try:
        greeting = section()
        # Everything that this git offers is taken, in its own words.
        write(1, greeting)
        talk = greeting + section()
        if b"push-options" in greeting:
            talk += section()
        write(1, ask(b"c", [variable(b"CLOWDY_PUSH_ID"), posix.getcwdb(), talk]))
    except OSError:
        write(2, b"the server went away: push again\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(answer())
