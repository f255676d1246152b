"""Packs and pushes made by hand, as no stock client would."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from hashlib import sha1

from clowdy.server.git.pkt import FLUSH, pkt

NUMBERS = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
PERSON = b"Mallory <m@example.com> 1700000000 +0000"


def oid(kind: str, content: bytes) -> str:
    return sha1(f"{kind} {len(content)}\0".encode() + content).hexdigest()


def tree(*entries: tuple[str, bytes, str]) -> bytes:
    """A tree object of (mode, name, id), in the order given."""
    return b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(target) for mode, name, target in entries)


def commit(tree_id: str, *parents: str, message: bytes = b"x\n") -> bytes:
    lines = [b"tree " + tree_id.encode(), *(b"parent " + parent.encode() for parent in parents)]
    return b"\n".join([*lines, b"author " + PERSON, b"committer " + PERSON, b"", message])


def entry(kind: str, content: bytes) -> bytes:
    size = len(content)
    first = NUMBERS[kind] << 4 | size & 15
    header = bytearray()
    size >>= 4
    while size:
        header.append(first | 128)
        first, size = size & 127, size >> 7
    header.append(first)
    return bytes(header) + zlib.compress(content, 9)


def pack(objects: Sequence[tuple[str, bytes]]) -> bytes:
    body = b"PACK" + struct.pack(">II", 2, len(objects)) + b"".join(entry(*each) for each in objects)
    return body + sha1(body).digest()


def request(
    *commands: tuple[str, str, str], data: bytes = b"", capabilities: str = "report-status side-band-64k"
) -> bytes:
    """The body of a push of (old, new, ref)."""
    lines = [f"{old} {new} {ref}".encode() for old, new, ref in commands]
    lines[0] += b"\0report-status side-band-64k"
    return b"".join(pkt(line) for line in lines) + FLUSH + data


class Builder:
    """Collects objects for one pack."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[str, bytes]] = {}

    def add(self, kind: str, content: bytes) -> str:
        name = oid(kind, content)
        self.objects[name] = (kind, content)
        return name

    def blob(self, content: bytes) -> str:
        return self.add("blob", content)

    def tree(self, *entries: tuple[str, bytes, str]) -> str:
        return self.add("tree", tree(*entries))

    def commit(self, tree_id: str, *parents: str, message: bytes = b"x\n") -> str:
        return self.add("commit", commit(tree_id, *parents, message=message))

    def pack(self) -> bytes:
        return pack(list(self.objects.values()))
