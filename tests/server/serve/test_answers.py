"""What leaves for a caller, whatever a function or a forged frame says."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from clowdy.server.serve.answers import (
    PLAIN,
    BadAnswer,
    confine,
    error_body,
    read_head,
    serialise,
    to_bytes,
    without_session,
)
from tests.server.serve.stage import Stage, answering, read_reply


def head(*headers: object, status: object = 200) -> bytes:
    return orjson.dumps({"status": status, "headers": headers})


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b"null",
        b"200",
        b'{"status": 200, "headers": {"a": "b"}}',
        b"\xff",
        b'{"a":' * 5000,
        *(head(status=status) for status in (199, 600, 0, -1, 101, "200", 200.0, True, None, [], 10**15)),
        *(
            head(pair)
            for pair in (
                ["Bad Name", "x"],
                ["", "x"],
                ["Na:me", "x"],
                ["Name\r\nX", "x"],
                ["Näme", "x"],
                ["Name\0", "x"],
                ["a" * 70_000, "x"],
                ["X", "a\r\nSet-Cookie: b=c"],
                ["X", "a\nb"],
                ["X", "a\rb"],
                ["X", "a\0b"],
                ["X", "a\x7fb"],
                ["X", "a\x1bb"],
                ["X", "x" * 70_000],
                ["X", 1],
                ["X", None],
                ["X"],
                ["X", "a", "b"],
                "X: a",
                7,
                ["Content-Length", "-1"],
                ["Content-Length", "1, 2"],
                ["Content-Length", "+1"],
                ["Content-Length", "0x10"],
                ["Content-Length", "٣"],
                ["Content-Length", ""],
                ["Content-Length", "9" * 30],
            )
        ),
        head(*([["X", "y"]] * 257)),
    ],
)
def test_what_cannot_be_sent_is_refused(content: bytes) -> None:
    with pytest.raises(BadAnswer):
        read_head(content)


def test_lone_surrogates_are_refused() -> None:
    with pytest.raises(BadAnswer):
        read_head(b'{"status": 200, "headers": [["X", "\\ud800"]]}')


def test_an_empty_head_is_plain_json() -> None:
    assert read_head(b"") is PLAIN
    assert read_head(b"{}") == (200, (), None)


def test_headers_of_the_connection_and_of_the_gateway_are_dropped() -> None:
    names = (
        "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding",
        "Upgrade", "X-Request-Id", "x-clowdy-release",
    )  # fmt: skip
    assert read_head(head(*([name, "x"] for name in names), ["Content-Length", "5"], ["X-Mine", " y\t"])) == (
        200,
        (("X-Mine", "y"),),
        5,
    )


def test_texts_of_handlers_are_sent_as_utf8_once() -> None:
    given = read_head(head(["X", "caf\xc3\xa9"], ["Y", "caf\xe9"], ["Z", "€"]))

    assert [to_bytes(value) for _, value in given.headers] == [b"caf\xc3\xa9", "café".encode(), "€".encode()]


def test_bytes_of_applications_stay_the_same_bytes() -> None:
    every = bytes(range(0x80, 0x100))
    given = read_head(head(["X", "caf\xc3\xa9"], ["Y", "caf\xe9"], ["Z", every.decode("latin-1")]), as_bytes=True)

    assert [to_bytes(value) for _, value in given.headers] == [b"caf\xc3\xa9", b"caf\xe9", every]
    assert b"Y: caf\xe9\r\n" in serialise(200, given.headers)
    with pytest.raises(BadAnswer, match="not Latin-1"):
        read_head(head(["Z", "€"]), as_bytes=True)


@pytest.mark.parametrize(
    ("cookie", "confined"),
    [
        ("a=b", "a=b; Path=/api/gateway/shop/"),
        ("a=b; Path=/", "a=b; Path=/api/gateway/shop/"),
        ("a=b;path=/;PATH=/admin; HttpOnly", "a=b; HttpOnly; Path=/api/gateway/shop/"),
        ("a=b; Path = / ; Secure", "a=b; Secure; Path=/api/gateway/shop/"),
        ("a=b; Domain=localhost; Max-Age=3", "a=b; Max-Age=3; Path=/api/gateway/shop/"),
        ("a=b; Path=/api/gateway/shop/admin", "a=b; Path=/api/gateway/shop/admin"),
        ("a=b; Path=/api/gateway/shopping", "a=b; Path=/api/gateway/shop/"),
        ("a=b; Path=/api/gateway/shop/x; Path=/", "a=b; Path=/api/gateway/shop/x"),
        ("a=b; Path", "a=b; Path=/api/gateway/shop/"),
        ("a", "a; Path=/api/gateway/shop/"),
        ("clowdy_session=x", None),
        (" clowdy_session =x; Path=/", None),
        ("=clowdy_session=x", None),
        ("__Host-clowdy_session=x; Secure; Path=/", None),
        ("my_clowdy_session=x", "my_clowdy_session=x; Path=/api/gateway/shop/"),
    ],
)
def test_cookies_are_confined(cookie: str, confined: str | None) -> None:
    assert confine([("Set-Cookie", cookie)], "/api/gateway/shop") == (
        [] if confined is None else [("Set-Cookie", confined)]
    )


def test_headers_that_speak_for_a_whole_host_do_not_speak_for_the_pages() -> None:
    names = ("Clear-Site-Data", "Strict-Transport-Security", "Service-Worker-Allowed", "NEL", "Report-To", "Alt-Svc")
    assert confine([(name, "x") for name in names] + [("ETag", "y")], "/p") == [("ETag", "y")]


def test_a_host_of_its_own_keeps_its_cookies_but_not_the_session_of_the_pages() -> None:
    cookies = [("Set-Cookie", "a=b; Path=/; Domain=localhost"), ("Set-Cookie", "clowdy_session=x; Domain=localhost")]

    assert without_session(cookies) == cookies[:1]


def test_errors_hold_whatever_was_in_the_path() -> None:
    assert orjson.loads(error_body("No route matches GET /\udcff\n\0", "not_found", "1")) == {
        "detail": "No route matches GET /?\n\0",
        "code": "not_found",
        "request_id": "1",
    }


# The same over HTTP, where aiohttp alone would close the connection without a word.


@pytest.mark.parametrize(
    "content",
    [
        head(["X", "a\r\nSet-Cookie: evil=1\r\n\r\n<script>"]),
        head(["X\r\nEvil", "a"]),
        head(["X", "a\0"]),
        head(["X", "x" * 70_000]),
        head(status=99),
        head(status=700),
        b"{",
        b"\xff" * 100,
    ],
)
async def test_an_answer_that_cannot_be_sent_is_a_bad_response(on: Stage, content: bytes) -> None:
    on.play("GET /a: evil", "GET /b: echo", evil=answering(b"body", head=content))
    reader, writer = await on.connect()
    writer.write(b"GET /api/gateway/shop/a HTTP/1.1\r\nHost: x\r\n\r\n")
    reply = await read_reply(reader)
    writer.write(b"GET /api/gateway/shop/b HTTP/1.1\r\nHost: x\r\n\r\n")
    following = await read_reply(reader)
    writer.close()

    assert (reply.status, reply.json["code"]) == (502, "bad_response")
    assert b"evil" not in reply.body
    assert not reply.all("Set-Cookie")
    assert not reply.all("X")
    assert following.status == 200
    assert [record.code for record in on.records] == ["bad_response", None]
    assert on.records[0].error


async def test_an_answer_above_the_limit_must_stream(on: Stage) -> None:
    on.play("GET /a: big", big=answering(b"x" * (6 * 1024 * 1024 + 1), head=b""))

    reply = await on.ask("/api/gateway/shop/a")
    assert (reply.status, reply.json["code"]) == (502, "bad_response")


async def test_an_answer_at_the_limit_arrives(on: Stage) -> None:
    on.play("GET /a: big", big=answering(b"x" * (6 * 1024 * 1024), head=b""))

    assert len((await on.ask("/api/gateway/shop/a")).body) == 6 * 1024 * 1024


async def test_headers_of_an_answer_arrive_in_order_and_often(on: Stage) -> None:
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2; Path=/"),
        ("X-Name", "café"),
        ("X-Empty", ""),
        ("Server", "mine"),
        ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("Content-Length", "999"),
        ("Connection", "close"),
        ("X-Request-Id", "forged"),
        ("Content-Security-Policy", "default-src *"),
        ("Clear-Site-Data", '"*"'),
    ]
    on.play("GET /a: page", page=answering(b"<p>", 201, headers))

    reply = await on.ask("/api/gateway/shop/a")
    assert reply.status == 201
    assert reply.all("Set-Cookie") == ["a=1; Path=/api/gateway/shop/", "b=2; Path=/api/gateway/shop/"]
    assert reply["X-Name"].encode("latin-1").decode() == "café"
    assert reply["X-Empty"] == ""
    assert reply["Server"] == "mine"
    assert reply["Date"] == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert reply["Content-Length"] == "3"
    assert not reply.all("Connection")
    assert reply["X-Request-Id"] == on.records[0].id
    assert "sandbox allow-scripts allow-forms allow-popups allow-downloads" in reply.all("Content-Security-Policy")
    assert not reply.all("Clear-Site-Data")
    reply = await on.ask("/a", host="shop.localhost")
    assert reply.all("Set-Cookie") == ["a=1", "b=2; Path=/"]
    assert reply["Clear-Site-Data"] == '"*"'
    assert reply["Content-Security-Policy"] == "default-src *"


@pytest.mark.parametrize(
    ("status", "length"), [(204, []), (304, []), (200, ["0"]), (404, ["0"]), (302, ["0"]), (599, ["0"])]
)
async def test_answers_without_a_body(on: Stage, status: int, length: list[str]) -> None:
    on.play("GET /a: empty", empty=answering(b"", status, [("Location", "/b")]))

    reply = await on.ask("/api/gateway/shop/a")
    assert (reply.status, reply.body, reply.all("Content-Length")) == (status, b"", length)
    assert not reply.all("Content-Type")
    assert reply["Location"] == "/b"


@pytest.mark.parametrize("status", [204, 304])
async def test_a_body_that_no_client_would_read_is_not_sent(on: Stage, status: int) -> None:
    """Else it would be taken for the beginning of the next answer."""
    on.play("GET /a: odd", odd=answering(b"HTTP/1.1 200 OK\r\n\r\n", status))
    reader, writer = await on.connect()
    for _ in range(2):
        writer.write(b"GET /api/gateway/shop/a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await read_reply(reader)).status == status
    await asyncio.sleep(0.02)
    writer.close()
    assert await reader.read() == b""


async def test_a_body_of_unknown_kind_is_bytes(on: Stage) -> None:
    on.play("GET /a: odd", odd=answering(b"<script>"))

    assert (await on.ask("/api/gateway/shop/a"))["Content-Type"] == "application/octet-stream"


async def test_the_length_that_a_function_gives_to_head_is_kept(on: Stage) -> None:
    on.play("ANY /a: sized", sized=answering(b"", 200, [("Content-Length", "1234")]))

    assert (await on.ask("/api/gateway/shop/a", "HEAD"))["Content-Length"] == "1234"


async def test_both_ways_send_the_same_headers(on: Stage) -> None:
    on.play("GET /a: echo", "GET /b: page", page=answering(b"x", 200, [("Content-Type", "text/plain")]))

    for path, kind in (("a", "application/json"), ("b", "text/plain")):
        reply = await on.ask(f"/api/gateway/shop/{path}")
        assert sorted(name for name, _ in reply.headers) == sorted(
            ["Content-Type", "Content-Length", "X-Request-Id", "X-Clowdy-Release", "Content-Security-Policy", "Date",
             "Server"]
        )  # fmt: skip
        assert reply["Content-Type"] == kind
