"""Git's pkt-lines: four hex digits of length, then the line. Pure."""

from __future__ import annotations

from collections.abc import Iterator

FLUSH = b"0000"
LONGEST = 65520


def pkt(line: bytes) -> bytes:
    """One pkt-line."""
    if len(line) + 4 > LONGEST:
        raise ValueError(f"a line of {len(line)} bytes does not fit in a pkt-line")
    return b"%04x" % (len(line) + 4) + line


def side_band(text: str) -> bytes:
    """Text as the client shows it behind `remote: `."""
    return pkt(b"\x02" + text.encode())


def split(data: bytes) -> Iterator[bytes | None]:
    """Each pkt-line, None for a flush; raises ValueError for what is cut or malformed."""
    at = 0
    while at < len(data):
        digits = data[at : at + 4]
        if len(digits) != 4 or digits.strip(b"0123456789abcdefABCDEF"):
            raise ValueError(f"bad pkt-line length {digits!r}")
        length = int(digits, 16)
        if length == 0:
            yield None
            at += 4
            continue
        if length < 4 or at + length > len(data):
            raise ValueError(f"pkt-line of {length} bytes does not end")
        yield data[at + 4 : at + length]
        at += length
