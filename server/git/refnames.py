"""Which names a ref may have. Pure."""

from __future__ import annotations

import re

NULL = "0" * 40
"""The id of no object: what a ref that is not there has, in git's own lines."""

LONGEST = 500

# As `git check-ref-format` says: no part begins with a dot or ends in `.lock`, no `..`, `@{`, control or glob
# characters, and it is below refs/.
_bad = re.compile(r"\.\.|@\{|[\x00-\x20\x7f~^:?*\[\\]|//")


def is_ref(name: str) -> bool:
    """Whether `name` is a full ref name that git accepts."""
    if not name.startswith("refs/") or len(name.encode("utf-8", "surrogateescape")) > LONGEST or _bad.search(name):
        return False
    if any(0xD800 <= ord(character) <= 0xDFFF for character in name):
        return False
    parts = name.split("/")
    return not name.endswith((".", "/")) and all(
        part and not part.startswith(".") and not part.endswith(".lock") for part in parts
    )
