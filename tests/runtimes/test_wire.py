from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clowdy.runtimes.wire import (
    Decoder,
    Frame,
    WireError,
    frames,
    pack,
)

FRAMES = st.lists(
    st.builds(
        Frame,
        st.integers(frames.FIRST_KIND, frames.LAST_KIND),
        st.integers(0, 2**32 - 1),
        st.binary(max_size=50),
        st.binary(max_size=200),
    ),
    max_size=8,
)


@given(FRAMES, st.lists(st.integers(1, 60), min_size=1))
def test_frames_come_out_as_they_went_in_however_the_bytes_are_cut(sent: list[Frame], cuts: list[int]) -> None:
    data = b"".join(pack(*frame) for frame in sent)
    decoder = Decoder()
    got: list[Frame] = []
    place = turn = 0
    while place < len(data):
        size = cuts[turn % len(cuts)]
        got += decoder.feed(data[place : place + size])
        place, turn = place + size, turn + 1
    assert got == sent


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n",
        frames.HEADER.pack(0xC2, frames.RESULT, 0, 1, 0, 0),
        frames.HEADER.pack(0xC1, 0, 0, 1, 0, 0),
        frames.HEADER.pack(0xC1, frames.LAST_KIND + 1, 0, 1, 0, 0),
        frames.HEADER.pack(0xC1, frames.RESULT, 1, 1, 0, 0),
    ],
)
def test_bytes_that_are_no_frame_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        Decoder().feed(data)


def test_a_length_is_refused_before_anything_of_that_length_arrives() -> None:
    with pytest.raises(WireError):
        Decoder(head_limit=10).feed(frames.HEADER.pack(0xC1, frames.RESULT, 0, 1, 11, 0))
    with pytest.raises(WireError):
        Decoder(body_limit=10).feed(frames.HEADER.pack(0xC1, frames.RESULT, 0, 1, 0, 11))
    assert Decoder(head_limit=10, body_limit=10).feed(pack(frames.RESULT, 1, bytes(10), bytes(10)))
