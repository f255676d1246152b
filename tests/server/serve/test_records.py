"""A call as it is remembered: nothing lost, nothing secret, nothing that a database could not hold."""

from __future__ import annotations

import base64
import json
import random

import pytest

from clowdy.server.serve.archive_tables import calls
from clowdy.server.serve.exchange import CallRecord
from clowdy.server.serve.records import (
    EVENT_BYTES,
    LOG_BYTES,
    MARGIN,
    RESULT_BYTES,
    BadRecord,
    Packer,
    Record,
    from_row,
    to_row,
    unpack,
)
from tests.server.serve.calls import HELLO, OTHER, SHOP, USERS, call, direct, head


def remembered(record: CallRecord) -> Record:
    return unpack(Packer()(record))


def test_every_field_of_a_call_is_remembered() -> None:
    record = remembered(
        call(
            id="0123456789ab",
            method="POST",
            path="/users/1",
            status="error",
            http_status=502,
            code="crashed",
            cold_start=True,
            event=head("/users/1", "a=1&a=2", "POST", accept="*/*"),
            body=b'{"n": 1}',
            answer=b"answer",
            log=b"printed\n",
            error="exit status 1",
        )
    )

    assert record[:16] == (
        "0123456789ab", 1_790_000_000.25, SHOP.project_id, HELLO.function_id, "hello", 3, 7, "error", 502, "crashed",
        1.25, True, "gateway", "POST", "/users/1", "printed\nexit status 1",
    )  # fmt: skip
    assert record.result == "answer"
    assert record.truncated == ()
    assert json.loads(record.event) == {
        "method": "POST",
        "path": "/users/1",
        "params": {},
        "query": {"a": "2"},
        "multiQuery": {"a": ["1", "2"]},
        "headers": {"accept": "*/*"},
        "body": {"n": 1},
    }


def test_a_direct_call_has_no_request_and_the_callers_event() -> None:
    record = remembered(direct())

    assert (record.method, record.path, record.http_status, record.trigger) == (None, None, None, "direct")
    assert record.event == '{"name":"Ana"}'


def test_functions_of_a_project_are_told_apart_also_when_one_packer_packs_them() -> None:
    pack = Packer()
    packed = [pack(call(project=project, target=target)) for project in (SHOP, OTHER) for target in (HELLO, USERS)]

    assert [(one.project_id, one.function, one.release) for one in map(unpack, packed)] == [
        (SHOP.project_id, "hello", 7),
        (SHOP.project_id, "users", 7),
        (OTHER.project_id, "hello", 1),
        (OTHER.project_id, "users", 1),
    ]


def test_a_row_holds_the_whole_record() -> None:
    record = remembered(call(log=b"x" * LOG_BYTES * 2, body=b"\xff\x00", cold_start=True))
    names = [column.name for column in calls.columns]

    assert from_row(dict(zip(names, to_row(record), strict=True))) == record


def test_what_is_too_long_is_cut_and_marked() -> None:
    record = remembered(
        call(body=b"b" * (EVENT_BYTES + 10_000), answer=b"a" * (RESULT_BYTES + 10_000), log=b"l" * (LOG_BYTES + 10_000))
    )

    assert record.truncated == ("event", "result", "log")
    assert len(record.head.encode()) + len(record.body) == EVENT_BYTES
    assert json.loads(record.event)["body"].startswith("bbb")
    assert len(record.result) == RESULT_BYTES
    assert LOG_BYTES - 100 < len(record.log) <= LOG_BYTES
    assert record.log.endswith("\n[truncated: 256 KB are kept]")


def test_what_just_fits_is_whole() -> None:
    event = head()
    record = remembered(
        call(event=event, body=b"b" * (EVENT_BYTES - len(event)), answer=b"a" * RESULT_BYTES, log=b"l" * LOG_BYTES)
    )

    assert record.truncated == ()
    assert (len(record.result), len(record.log)) == (RESULT_BYTES, LOG_BYTES)


def test_a_head_that_is_too_long_leaves_its_beginning_as_the_event() -> None:
    record = remembered(call(event=head(**{"x-long": "v" * 100_000}), body=b"rest"))

    assert record.event.startswith('{"trigger": "gateway"')
    assert record.truncated == ("event",)
    assert len(record.event.encode()) <= EVENT_BYTES + 1


@pytest.mark.parametrize("letter", ["é", "漢", "😀"])
def test_no_letter_is_cut_in_half(letter: str) -> None:
    long = letter.encode() * 200_000
    record = remembered(call(answer=long, log=long, body=long))

    assert set(record.result) == {letter}
    assert set(record.log.removesuffix("\n[truncated: 256 KB are kept]")) == {letter}
    assert set(json.loads(record.event)["body"]) == {letter}


def test_a_traceback_stands_in_the_log_once() -> None:
    once = remembered(call(log=b"before\nTraceback: boom\n", error="Traceback: boom"))
    only = remembered(call(error="Traceback: boom"))

    assert once.log == "before\nTraceback: boom\n"
    assert only.log == "Traceback: boom"


def test_nul_and_surrogates_are_replaced() -> None:
    record = remembered(
        call(
            log=b"a\0b\xffc",
            path="/\udcff\0",
            method="G\udcffT",
            answer=b"x\0y",
            body=b'{"a": "\\u0000 \\ud800"}',
            error="\udc80 wrong\0",
        )
    )
    texts = [record.log, record.path or "", record.method or "", record.result, record.event]

    assert record.log == "a\ufffdb\ufffdc\n? wrong\ufffd"
    assert not any("\0" in text for text in texts)
    for text in texts:
        text.encode()


def test_binary_results_are_data_uris() -> None:
    record = remembered(call(answer=b"\x89PNG\0\xff"))

    assert record.result.startswith("data:application/octet-stream;base64,")
    assert base64.b64decode(record.result.partition(",")[2]) == b"\x89PNG\0\xff"
    assert len(remembered(call(answer=b"\xff" * 200_000)).result) <= RESULT_BYTES


def test_binary_bodies_are_base64_in_the_event() -> None:
    event = json.loads(remembered(call(body=b"\xff\0", event=head(method="POST"))).event)

    assert (event["body"], event["isBase64Encoded"]) == ("/wA=", True)


def test_secrets_are_taken_out_of_everything() -> None:
    def redact(project_id: str, text: str) -> str:
        assert project_id == SHOP.project_id
        return text.replace("hunter22", "********")

    packed = Packer()(
        call(
            path="/hunter22",
            event=head("/hunter22", "key=hunter22"),
            body=b"hunter22\xff",
            answer=b"hunter22",
            log=b"hunter22",
            error="hunter22!",
        )
    )
    record = unpack(packed, redact)

    assert "hunter22" not in repr(record)
    assert "hunter22" not in record.event
    assert record.body == b"********\xff"


@pytest.mark.parametrize("shift", range(0, 300, 20))
def test_a_secret_at_the_limit_is_taken_out_whole(shift: int) -> None:
    secret = "hunter" * 50

    def redact(project_id: str, text: str) -> str:
        return text.replace(secret, "********")

    log = b"l" * (LOG_BYTES - shift) + secret.encode() + b"r" * 100
    answer = b"a" * (RESULT_BYTES - shift) + secret.encode() + b"r" * 100
    record = unpack(Packer()(call(log=log, answer=answer)), redact)

    assert "hu" not in record.log
    assert "hu" not in record.result


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("times", [1, 20])
def test_half_a_secret_where_a_part_was_cut_is_dropped(masked: bool, times: int) -> None:
    """Masks are shorter than what they hide: what was packed beyond the limit must not move within it."""
    secret = "hunter" * 100

    def redact(project_id: str, text: str) -> str:
        return text.replace(secret, "********")

    def mask(data: bytes) -> bytes:
        return data.replace(secret.encode(), b"********")

    def cut(limit: int) -> bytes:
        before = secret.encode() * times
        return before + b"." * (limit + MARGIN - len(before) - 300) + secret.encode() + b"r" * 9_000

    whole = call(log=cut(LOG_BYTES), answer=cut(RESULT_BYTES), body=cut(EVENT_BYTES - len(head())), error="")
    record = unpack(Packer()(whole, mask if masked else None), redact)

    for part in (record.log, record.result, record.body.decode()):
        assert "hu" not in part
        assert part.startswith("********")
    assert record.truncated == ("event", "result", "log")


def test_masking_leaves_what_has_no_secrets_as_it_is() -> None:
    whole = call(log=b"printed", answer=b"r" * (RESULT_BYTES + MARGIN + 1))

    assert Packer()(whole, lambda data: data) == Packer()(whole)


def test_the_api_has_the_names_of_both_contracts() -> None:
    record = remembered(call(id="0123456789ab", path="/a"))

    assert record.as_json() == {
        "id": "0123456789ab",
        "time": "2026-09-21T14:13:20.250Z",
        "project_id": SHOP.project_id,
        "function_id": HELLO.function_id,
        "function": "hello",
        "version": 3,
        "release": 7,
        "status": "success",
        "http_status": 200,
        "code": None,
        "duration_ms": 1.25,
        "cold_start": False,
        "trigger": "gateway",
        "method": "GET",
        "path": "/a",
        "log": "",
        "input": record.event,
        "output": '{"hello":"world"}',
        "truncated": [],
        "source": "gateway",
        "http_method": "GET",
        "http_path": "/a",
        "created_at": "2026-09-21T14:13:20.250Z",
    }


def test_what_is_no_record_is_refused() -> None:
    packed = Packer()(call(log=b"some text"))
    for wrong in (b"", b"\x02", b"\x01" + packed[1:], packed[:-1], packed + b"x"):
        with pytest.raises(BadRecord):
            unpack(wrong)


def test_no_bytes_whatever_break_the_reader() -> None:
    chance = random.Random(7)
    packed = Packer()(call(log=b"some text", body=b"{}"))
    for _ in range(3000):
        broken = bytearray(packed)
        for _ in range(chance.randrange(1, 6)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        try:
            record = unpack(bytes(broken))
        except BadRecord:
            continue
        assert isinstance(record.event, str)
