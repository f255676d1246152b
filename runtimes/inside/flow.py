"""An answer in pieces on its way: no more of them than the caller takes, and none once the caller has left."""

from __future__ import annotations

from . import frames
from .channel import Gone, joined
from .pieces import Pieces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from .channel import Channel


class Flow:
    """The pieces of one call's answer; `room` is how many bytes of them may be sent now, `gone` says for nobody."""

    __slots__ = ("_channel", "begun", "call", "gone", "room")

    def __init__(self, channel: Channel, call: int) -> None:
        self._channel = channel
        self.call = call
        self.room = frames.WINDOW
        self.begun = False
        self.gone = False

    def begin(self, head: bytes) -> None:
        """Sends the head."""
        self.begun = True
        self._channel.send(frames.pack(frames.HEAD, self.call, head))

    def put(self, piece: bytes) -> None:
        """Sends one piece."""
        self.room -= len(piece)
        self._channel.send(frames.pack(frames.PIECE, self.call, b"", piece))

    def credit(self, body: bytes | bytearray) -> None:
        """The caller took something."""
        self.room += int.from_bytes(body, "big")

    def cancel(self) -> None:
        """The caller has left."""
        self.gone = True


class BlockingFlow(Flow):
    """A flow of a runner that has one call at a time, and waits for the caller by reading the channel itself."""

    __slots__ = ()

    def write(self, data: bytes) -> None:
        """Sends `data`, waiting while the caller takes nothing; raises Gone."""
        for piece in split(data):
            while not self.gone and (self.room <= 0 or self._channel.arrived):
                self._take()
            if self.gone:
                raise Gone("the client has left")
            self.put(piece)

    def _take(self) -> None:
        kind, call, _, body = self._channel.read()
        if call != self.call:
            return
        if kind == frames.CREDIT:
            self.credit(joined(body))
        elif kind == frames.CANCEL:
            self.cancel()


def split(data: bytes) -> Iterator[bytes]:
    """`data` in pieces of the size that one frame may have."""
    if len(data) <= frames.PIECE_LIMIT:
        if data:
            yield data
        return
    for start in range(0, len(data), frames.PIECE_LIMIT):
        yield data[start : start + frames.PIECE_LIMIT]


def pour(channel: Channel, call: int, values: Iterable[Any]) -> bytes:
    """Sends what a generator yields as it comes, closes it in every case, and returns the last frame; raises Gone."""
    flow = BlockingFlow(channel, call)
    pieces = Pieces()
    try:
        for value in values:
            piece = pieces.add(value)
            if not flow.begun and pieces.head is not None:
                flow.begin(pieces.head)
            flow.write(piece)
    finally:
        close = getattr(values, "close", None)
        if close is not None:
            close()
    if not flow.begun:
        flow.begin(pieces.finish())
    return frames.pack(frames.END, call)
