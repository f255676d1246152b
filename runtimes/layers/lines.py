"""Lines of what a program prints, as they come."""

from __future__ import annotations

from collections.abc import Callable

_MOST_BYTES = 256 * 1024
_LONGEST_BYTES = 16 * 1024


class Lines:
    """Gives each line that is not blank to `on_line`, and keeps the last ones."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._kept: list[str] = []
        self._left = _MOST_BYTES
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Takes what was printed next."""
        *lines, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._take(line)
        if len(self._rest) > _LONGEST_BYTES:
            self._take(self._rest)
            self._rest = b""

    def _take(self, line: bytes) -> None:
        text = line[:_LONGEST_BYTES].decode(errors="replace")
        if not text.strip():
            return
        self._kept.append(text)
        self._left -= len(line)
        while self._left < 0 and len(self._kept) > 1:
            # What it said last is why it ended.
            self._left += len(self._kept.pop(0))
        self._on_line(text)

    def end(self) -> tuple[str, ...]:
        """The last lines, once nothing more is printed."""
        if self._rest:
            self._take(self._rest)
            self._rest = b""
        return tuple(self._kept)
