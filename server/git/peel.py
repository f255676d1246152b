"""From any object to the commit that it leads to."""

from __future__ import annotations

from clowdy.schema.units import MEBIBYTE
from clowdy.server.git.objects import Objects
from clowdy.server.git.values import Peeled, parse_tag

TAGS_IN_A_CHAIN = 10
# No commit, tag or tree that was pushed here is larger, so what is larger is a file and need not be read to know it.
STRUCTURE_BYTES = 16 * MEBIBYTE


def peel(objects: Objects, oid: str) -> Peeled:
    """The commit that an object leads to through any tags; raises NotFound when there is no such object."""
    first: str | None = None
    for _ in range(TAGS_IN_A_CHAIN + 1):
        if objects.sizes([oid])[oid] > STRUCTURE_BYTES:
            return Peeled(None, first)
        kind, content = objects.read(oid)
        if kind == "commit":
            return Peeled(oid, first)
        if kind != "tag":
            return Peeled(None, first)
        first = first or oid
        oid = parse_tag(oid, content).target
    return Peeled(None, first)
