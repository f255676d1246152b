from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clowdy.runtimes.wire import (
    Decoder,
    Frame,
    WireError,
    answer_head,
    call_head,
    frames,
    pack,
    parse_answer_head,
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


def test_the_head_of_a_gateway_call_holds_the_request() -> None:
    head = call_head(
        trigger="gateway",
        request_id="0011",
        release=7,
        timeout_seconds=2.5,
        method="GET",
        path="/a",
        params={"id": "1"},
        query="x=1",
        headers={"host": "h"},
    )
    assert json.loads(head) == {
        "trigger": "gateway",
        "request_id": "0011",
        "release": 7,
        "timeout": 2.5,
        "method": "GET",
        "path": "/a",
        "params": {"id": "1"},
        "query": "x=1",
        "headers": {"host": "h"},
    }


def test_the_head_of_a_direct_call_holds_no_request() -> None:
    head = call_head(trigger="direct", request_id="0011", release=None, timeout_seconds=1)
    assert json.loads(head) == {"trigger": "direct", "request_id": "0011", "release": None, "timeout": 1}


def test_header_bytes_that_are_no_utf8_travel_all_the_same() -> None:
    value = b"caf\xe9".decode("utf-8", "surrogateescape")
    head = call_head(trigger="gateway", request_id="", release=1, timeout_seconds=1, headers={"x": value})
    assert json.loads(head)["headers"] == {"x": value}


def test_an_answer_head_comes_back_as_it_was_made() -> None:
    parsed = parse_answer_head(answer_head(404, [("X-A", "1"), ("X-A", "é")]))
    assert parsed.status == 404
    assert parsed.headers == (("X-A", "1"), ("X-A", "é"))


def test_an_empty_head_is_200_and_json() -> None:
    assert parse_answer_head(b"") == (200, (("Content-Type", "application/json"),))


@pytest.mark.parametrize(
    "head",
    [
        b"nothing",
        b"[]",
        b"{}",
        b'{"status": 200}',
        b'{"status": 199, "headers": []}',
        b'{"status": 600, "headers": []}',
        b'{"status": true, "headers": []}',
        b'{"status": "200", "headers": []}',
        b'{"status": 200, "headers": [["a"]]}',
        b'{"status": 200, "headers": 3}',
        b'{"status": 200, "headers": [["a b", "x"]]}',
        b'{"status": 200, "headers": [["", "x"]]}',
        b'{"status": 200, "headers": [["a\\n", "x"]]}',
        b'{"status": 200, "headers": [["a", "x\\r\\nb: y"]]}',
        b'{"status": 200, "headers": [["a", "x\\n"]]}',
        b'{"status": 200, "headers": [["a", "\\u0000"]]}',
        b'{"status": 200, "headers": [["a", "\\u20ac"]]}',
        b'{"status": 200, "headers": [["a", 3]]}',
        b'{"status": 200, "headers": [[3, "x"]]}',
        b"[" * 100000,
    ],
)
def test_a_forged_answer_head_is_refused(head: bytes) -> None:
    with pytest.raises(WireError):
        parse_answer_head(head)
