"""The entry point `clowdy`: runs one verb and says how it ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 failed, 2 not understood."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a letter must not end a verb.
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has seen enough; the flush at the interpreter's end must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["credential"]:
        # git waits for this one during every push: it goes without click.
        from clowdy.server.cli import credential

        return credential.run(arguments[1:])
    from clowdy.server.cli import program

    return program.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
