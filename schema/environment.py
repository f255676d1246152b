"""Names and values of environment variables: what a function may be given."""

from __future__ import annotations

from collections.abc import Mapping

from clowdy.schema.names import is_environment
from clowdy.schema.rejection import Rejection
from clowdy.schema.text import printable, quoted

VALUE_LIMIT_BYTES = 4 * 1024
TOTAL_LIMIT_BYTES = 64 * 1024

# Names that change what the interpreter, the loader or the runner does, and names that mean what Clowdy sets them to.
# A value of one's own for the latter would mislead, so it is refused rather than ignored.
RESERVED_PREFIXES = {
    "LD_": "it changes how programs are loaded",
    "PYTHON": "it changes how Python starts",
    "CLOWDY_": "Clowdy sets the names that begin so",
}
RESERVED_NAMES = {
    "PATH": "Clowdy sets it",
    "DATABASE_URL": "Clowdy sets it where the project has `database`",
}


def check_environment_name(name: str) -> None:
    """Raises Rejection where `name` cannot be given to a function, as a value or as a secret."""
    if not is_environment(name):
        raise Rejection(
            "env-name",
            f"{quoted(name)} is not a name for an environment variable",
            "write letters, digits and _, not beginning with a digit",
        )
    reason = RESERVED_NAMES.get(name) or next(
        (why for prefix, why in RESERVED_PREFIXES.items() if name.startswith(prefix)), None
    )
    if reason is not None:
        raise Rejection("env-name", f"{printable(name, 60)} is a reserved name: {reason}", "choose another name")


def check_environment_value(name: str, value: str) -> None:
    """Raises Rejection where `value` cannot be the value of an environment variable."""
    shown = printable(name, 60)
    size_bytes = len(value.encode())
    if size_bytes > VALUE_LIMIT_BYTES:
        raise Rejection(
            "env-size",
            f"{shown} has {size_bytes:,} bytes, a value may have {VALUE_LIMIT_BYTES:,} (4 KB)",
            "put it in a file of the repository",
        )
    if "\0" in value:
        raise Rejection("env-value", f"{shown} has a NUL character, which no environment variable can hold")


def check_environment_size(env: Mapping[str, str]) -> None:
    """Raises Rejection where the variables of one function, names and values, are too large together."""
    size_bytes = sum(len(name) + len(value.encode()) for name, value in env.items())
    if size_bytes > TOTAL_LIMIT_BYTES:
        raise Rejection(
            "env-size",
            f"env has {size_bytes:,} bytes in all, it may have {TOTAL_LIMIT_BYTES:,} (64 KB)",
            "put large values in files of the repository",
        )
