"""What callers of the gateway get, over both ways of a request."""

from __future__ import annotations

import asyncio
import base64
import gzip

import orjson
import pytest

from clowdy.runtimes.api import DriverUnavailable, FailureCode, StartFailed, StartReason
from clowdy.runtimes.pool import Busy, NoMemory
from clowdy.server.serve.requests import read_parts
from tests.server.serve.stage import (
    ADMIN,
    ODD_ADMIN,
    SECRET,
    TOKEN,
    Function,
    Stage,
    Told,
    answering,
    project_table,
    read_reply,
    silent,
    stage,
)

SANDBOX = "sandbox allow-scripts allow-forms allow-popups allow-downloads"


def failing(code: FailureCode, text: str = "Traceback: secret") -> Function:
    def function(told: Told) -> None:
        told.instance.calls.pop(told.id, None)
        told.sink.log(b"printed\n")
        told.sink.failed(code, text)

    return function


async def test_a_call_reaches_the_function_and_comes_back(on: Stage) -> None:
    reply = await on.ask("/api/gateway/shop/users/7?a=1&a=2", "POST", [("X-One", "1"), ("X-One", "2")], b'{"b": 1}')

    event = reply.json
    assert reply.status == 200
    assert (event["method"], event["path"], event["query"]) == ("POST", "/users/7", "a=1&a=2")
    assert event["body"] == '{"b": 1}'
    assert event["params"] == {"path": "users/7"}
    assert event["headers"]["x-one"] == "1, 2"
    assert event["prefix"] == "/api/gateway/shop"
    assert event["trigger"] == "gateway"
    assert (event["release"], event["timeout"]) == (42, 30.0)
    assert reply["X-Request-Id"] == event["request_id"]
    assert reply["X-Clowdy-Release"] == "42"
    assert reply["Content-Type"] == "application/json"
    assert reply["Content-Security-Policy"] == SANDBOX
    assert reply["Server"] == "clowdy"
    assert reply["Date"].endswith("GMT")


async def test_a_host_of_its_own_has_no_prefix_and_no_policy(on: Stage) -> None:
    on.play("ANY /*path: echo")

    for host in ("shop.localhost", "SHOP.localhost:8000", "old-shop.localhost", "shop.localhost."):
        reply = await on.ask("/api/gateway/other/x", host=host)
        assert reply.json["path"] == "/api/gateway/other/x"
        assert reply.json["prefix"] == ""
        assert not reply.all("Content-Security-Policy")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "pages.localhost",
        "www.localhost",
        "api.localhost",
        "a.b.localhost",
        "example.com",
        ".localhost",
        "shop.localhost.evil.com",
        "xlocalhost",
        "[::1]:80",
    ],
)
async def test_other_hosts_mean_the_pages(on: Stage, host: str) -> None:
    assert (await on.ask("/shop", host=host)).body == b"page /shop"
    assert (await on.ask("/api/gateway/shop/x", host=host)).status == 200


async def test_what_is_not_below_the_prefix_is_for_the_pages(on: Stage) -> None:
    for path in ("/", "/api/gatewayx/shop", "/api/gateways", "/API/gateway/shop", "/api%2Fgateway/shop/"):
        assert (await on.ask(path)).body.startswith(b"page ")


async def test_errors_say_what_and_carry_their_id(on: Stage) -> None:
    on.gateway.publish(project_table("empty", routes=None), ["empty"])
    on.play("GET /a: echo")

    for target, detail in {
        "/api/gateway/nothing/x": "Project not found",
        "/api/gateway": "Project not found",
        "/api/gateway/": "Project not found",
        "/api/gateway/%2e%2e/shop": "Project not found",
        "/api/gateway/shop%2F/x": "Project not found",
        "/api/gateway/shop./x": "Project not found",
        "/api/gateway/SHOP/x": "Project not found",
        "/api/gateway/%ff/x": "Project not found",
        "/api/gateway/empty/x": "No routes configured for this project",
        "/api/gateway/shop/b": "No route matches GET /b",
        "/api/gateway/shop": "No route matches GET /",
    }.items():
        reply = await on.ask(target)
        assert reply.status == 404
        assert reply.json == {"detail": detail, "code": "not_found", "request_id": reply["X-Request-Id"]}
        assert reply["Content-Security-Policy"] == SANDBOX
        assert reply.all("X-Clowdy-Release") == ([] if detail == "Project not found" else ["42"])
    assert not on.records
    reply = await on.ask("/x", host="nothing.localhost")
    assert (reply.status, reply.json["detail"]) == (404, "Project not found")
    assert not reply.all("Content-Security-Policy")


@pytest.mark.parametrize("path", ["/a%00", "/%ff", "/%", "/%zz", "/a/%c0%ae", "/\udcff"])
async def test_broken_paths_are_bad_requests(on: Stage, path: str) -> None:
    reply = await on.ask(f"/api/gateway/shop{path}")

    assert reply.status == 400
    assert reply.json["code"] == "bad_request"
    assert not on.pool.calls


async def test_encoded_slashes_and_dots_stay_where_they_are(on: Stage) -> None:
    on.play("GET /u/:id: echo", "GET /f/*path: echo")

    assert (await on.ask("/api/gateway/shop/u/a%2Fb")).json["params"] == {"id": "a/b"}
    assert (await on.ask("/api/gateway/shop/f/%2e%2e/x")).json["params"] == {"path": "../x"}
    assert (await on.ask("/api/gateway/sh%6Fp/u/1")).json["params"] == {"id": "1"}
    assert (await on.ask("/api/gateway/shop/u/caf%C3%A9")).json["path"] == "/u/café"


async def test_a_trailing_slash_is_kept_for_applications_alone(on: Stage) -> None:
    event = (await on.ask("/api/gateway/shop/u%20x/1/")).json

    assert (event["path"], event["raw_path"]) == ("/u x/1", "/u%20x/1/")
    assert (await on.ask("/api/gateway/shop/")).json["path"] == "/"


async def test_methods(on: Stage) -> None:
    on.play("GET /a: echo", "POST /a: echo")

    reply = await on.ask("/api/gateway/shop/a", "DELETE")
    assert (reply.status, reply["Allow"]) == (405, "GET, HEAD, POST, OPTIONS")
    assert reply.json["code"] == "method_not_allowed"
    reply = await on.ask("/api/gateway/shop/a", "OPTIONS")
    assert (reply.status, reply["Allow"], reply.body) == (204, "GET, HEAD, POST, OPTIONS", b"")
    assert reply["X-Clowdy-Release"] == "42"
    reply = await on.ask("/api/gateway/shop/b", "OPTIONS")
    assert reply.status == 404
    assert not on.records


async def test_head_has_the_length_of_get_and_no_body(on: Stage) -> None:
    on.play("GET /a: fixed", "ANY /b: fixed", fixed=answering(b"four", headers=[("Content-Type", "text/plain")]))
    whole = await on.ask("/api/gateway/shop/a")
    reader, writer = await on.connect()
    writer.write(
        b"HEAD /api/gateway/shop/a HTTP/1.1\r\nHost: x\r\n\r\nGET /api/gateway/shop/b HTTP/1.1\r\nHost: x\r\n\r\n"
    )

    head = await read_reply(reader, "HEAD")
    following = await read_reply(reader)
    writer.close()

    assert (head.status, head["Content-Length"], head["Content-Type"]) == (200, "4", "text/plain")
    assert whole["Content-Length"] == "4"
    assert following.body == b"four"
    assert on.pool.calls[1].event["method"] == "GET"
    assert on.records[1].method == "HEAD"


async def test_a_function_of_every_method_sees_head_as_get(on: Stage) -> None:
    on.play("ANY /*path: echo")

    head = await on.ask("/api/gateway/shop/a", "HEAD")

    assert (head.status, head.body) == (200, b"")
    assert on.pool.calls[0].event["method"] == "GET"
    assert on.records[0].method == "HEAD"


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ([("Cookie", "a=1; clowdy_session=s; b=2")], {"cookie": "a=1; b=2"}),
        ([("Cookie", "__Host-clowdy_session=s")], {}),
        ([("Cookie", "a=1"), ("Cookie", "clowdy_session=s"), ("Cookie", "b=2")], {"cookie": "a=1; b=2"}),
        ([("Cookie", "xclowdy_session=s")], {"cookie": "xclowdy_session=s"}),
        ([("Authorization", f"Bearer {TOKEN}")], {}),
        ([("Authorization", f"bearer   {ADMIN}")], {}),
        ([("Authorization", TOKEN)], {}),
        ([("Authorization", f'Token token="{TOKEN}"')], {}),
        ([("Authorization", "Basic " + base64.b64encode(f"ana:{TOKEN}".encode()).decode())], {}),
        ([("Authorization", "Basic " + base64.b64encode(f"ana:{ADMIN}".encode()).decode().rstrip("="))], {}),
        ([("Authorization", f"Bearer {ODD_ADMIN}")], {}),
        ([("Authorization", ODD_ADMIN)], {}),
        ([("X-Api-Key", ODD_ADMIN)], {}),
        ([("X-Api-Key", ODD_ADMIN.encode("latin-1").decode("utf-8", "surrogateescape"))], {}),
        ([("Authorization", "Basic " + base64.b64encode(f"ana:{ODD_ADMIN}".encode()).decode())], {}),
        ([("Authorization", "Basic " + base64.b64encode(f"ana:{ODD_ADMIN}".encode("latin-1")).decode())], {}),
        ([("Authorization", "Bearer theirs")], {"authorization": "Bearer theirs"}),
        ([("Authorization", "Basic !!")], {"authorization": "Basic !!"}),
        ([("X-Api-Key", TOKEN)], {}),
        ([("x-api-KEY", ADMIN)], {}),
        ([("X-Api-Key", "theirs")], {"x-api-key": "theirs"}),
        ([("Connection", "keep-alive, X-Mine"), ("X-Mine", "1"), ("Keep-Alive", "5"), ("TE", "trailers")], {}),
        ([("Proxy-Authorization", "x"), ("Proxy-Connection", "close"), ("Trailer", "x")], {}),
    ],
)
async def test_what_a_function_sees_of_headers(on: Stage, headers: list[tuple[str, str]], kept: dict[str, str]) -> None:
    reply = await on.ask("/api/gateway/shop/x", headers=headers)

    assert reply.json["headers"] == {"host": "127.0.0.1", **kept}


async def test_header_bytes_that_are_no_utf_8_arrive_as_latin_1(on: Stage) -> None:
    reply = await on.ask("/api/gateway/shop/x", headers=[("X-Name", "caf\udce9"), ("X-Good", "é")])

    assert reply.json["headers"]["x-name"] == "café"
    assert reply.json["headers"]["x-good"] == "é"


@pytest.mark.parametrize(
    ("code", "status", "detail"),
    [
        (FailureCode.FUNCTION_FAILED, 500, "Function failed"),
        (FailureCode.BAD_RESPONSE, 502, "The function gave an answer that cannot be sent"),
        (FailureCode.TIMEOUT, 504, "Function timed out after 30 seconds"),
        (FailureCode.OUT_OF_MEMORY, 502, "Function ran out of memory"),
        (FailureCode.CRASHED, 502, "Function crashed"),
    ],
)
async def test_failures_are_told_to_strangers_without_what_is_inside(
    on: Stage, code: FailureCode, status: int, detail: str
) -> None:
    on.play("ANY /*path: fails", fails=failing(code))

    reply = await on.ask("/api/gateway/shop/x", headers=[("Authorization", "Bearer wrong")])
    assert reply.status == status
    assert reply.json == {"detail": detail, "code": code.value, "request_id": reply["X-Request-Id"]}
    assert reply["X-Clowdy-Release"] == "42"
    reply = await on.ask("/api/gateway/shop/x", headers=[("Authorization", f"Bearer {TOKEN}")])
    assert reply.json["error"] == "Traceback: secret"
    record = on.records[0]
    assert (record.code, record.http_status, record.log) == (code.value, status, b"printed\n")
    assert record.status == ("timeout" if code is FailureCode.TIMEOUT else "error")
    assert not on.pool.leased


async def test_secrets_are_taken_out_of_what_a_failure_is_told_with(on: Stage) -> None:
    def fails(told: Told) -> None:
        told.sink.failed(FailureCode.FUNCTION_FAILED, f"ValueError: {SECRET}")

    on.play("GET /a: fails", fails=fails)
    bearer = [("Authorization", f"Bearer {TOKEN}")]

    assert (await on.ask("/api/gateway/shop/a", headers=bearer)).json["error"] == "ValueError: ********"
    assert (await on.ask("/api/invoke/fails0000000", "POST", bearer)).json["error"] == "ValueError: ********"


async def test_the_connection_goes_on_after_a_failure(on: Stage) -> None:
    on.play("GET /a: fails", "GET /b: echo", fails=failing(FailureCode.CRASHED))
    reader, writer = await on.connect()
    for path, status in (("b", 200), ("a", 502), ("b", 200), ("a", 502)):
        writer.write(f"GET /api/gateway/shop/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert (await read_reply(reader)).status == status
    writer.close()


@pytest.mark.parametrize(
    ("error", "status", "code", "retry"),
    [
        (Busy("busy"), 429, "busy", "1"),
        (NoMemory("full"), 503, "unavailable", "5"),
        (DriverUnavailable("no bwrap"), 503, "unavailable", "30"),
        (StartFailed(StartReason.EXCEPTION, "Traceback", log="printed"), 503, "start_failed", "5"),
    ],
)
async def test_without_an_instance(on: Stage, error: Exception, status: int, code: str, retry: str) -> None:
    on.pool.error = error

    reply = await on.ask("/api/gateway/shop/x")

    assert (reply.status, reply.json["code"], reply["Retry-After"]) == (status, code, retry)
    assert "error" not in reply.json
    (record,) = on.records
    assert (record.http_status, record.code) == (status, code)
    reply = await on.ask("/api/gateway/shop/x", headers=[("Authorization", f"Bearer {TOKEN}")])
    assert reply.json["error"] == str(error)


async def test_a_function_that_cannot_start_is_not_available_and_its_author_learns_why(on: Stage) -> None:
    on.gateway.publish(
        project_table(routes=["GET /a: needs"], broken={"needs": "secret STRIPE_KEY has no value"}), ["shop"]
    )

    reply = await on.ask("/api/gateway/shop/a", headers=[("Authorization", f"Bearer {TOKEN}")])

    assert reply.status == 503
    assert reply.json["detail"] == "The function for this route is not available"
    assert reply.json["code"] == "start_failed"
    assert reply.json["error"] == "secret STRIPE_KEY has no value"
    assert [record.code for record in on.records] == ["start_failed"]


async def test_a_cold_call_says_so(on: Stage) -> None:
    on.pool.cold = True
    await on.ask("/api/gateway/shop/x")
    on.pool.cold = False
    await on.ask("/api/gateway/shop/x")

    assert [record.cold_start for record in on.records] == [True, False]


async def test_the_path_of_a_record_has_the_slash_that_was_asked_for(on: Stage) -> None:
    """Applications redirect from one to the other: without it a redirect looks like one to itself."""
    for path in ("/x", "/x/"):
        await on.ask(f"/api/gateway/shop{path}")
    assert [record.path for record in on.records] == ["/x", "/x/"]


async def test_every_answered_call_is_recorded_with_what_it_was(on: Stage) -> None:
    reply = await on.ask("/api/gateway/shop/a%20b?q", "POST", body=b"hello")

    (record,) = on.records
    assert record.id == reply["X-Request-Id"]
    assert (record.method, record.path, record.trigger) == ("POST", "/a b", "gateway")
    assert (record.status, record.http_status, record.code) == ("success", 200, None)
    assert record.body == b"hello"
    assert record.answer == reply.body
    assert orjson.loads(record.event)["query"] == "q"
    assert (record.project.release, record.target.name) == (42, "echo")
    assert record.duration_ms >= 0


async def test_it_is_recorded_before_the_last_byte(on: Stage) -> None:
    """Whatever is sent was kept before: a ledger that ends the server leaves the caller without an answer."""

    def unplug(record: object) -> None:
        raise OSError("no disk")

    on.gateway.ledger = unplug
    reply = await on.raw(b"GET /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200 OK" not in reply


# Bodies.


async def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(on: Stage) -> None:
    reader, writer = await on.connect()
    writer.write(b"POST /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\nContent-Length: 6291457\r\n\r\n")
    reply = await read_reply(reader)

    assert (reply.status, reply.json["code"]) == (413, "too_large")
    assert reply.json["detail"] == "The request body is over 6 MB"
    assert reply["Connection"] == "close"
    writer.write(b"x" * 6291457)
    await writer.drain()
    assert await reader.read() == b""
    writer.close()
    assert not on.pool.calls


async def test_a_client_that_sends_all_before_it_reads_sees_the_413(on: Stage) -> None:
    size = 9 * 1024 * 1024
    reader, writer = await on.connect()
    writer.write(f"POST /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode())
    for _ in range(size // 65536):
        writer.write(b"x" * 65536)
        await writer.drain()
    assert (await read_reply(reader)).status == 413
    writer.close()


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413)])
@pytest.mark.parametrize("fast", [True, False])
async def test_a_chunked_body_is_measured_as_it_comes(fast: bool, size: int, status: int) -> None:
    async with stage(fast=fast, body_limit=1000) as on:
        head = b"POST /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size)
        reply = await on.raw(head + body)
        assert reply.startswith(b"HTTP/1.1 %d" % status)


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 300_000, 6 * 1024 * 1024])
async def test_bodies_of_every_size_arrive_whole(on: Stage, size: int) -> None:
    on.play("ANY /*path: fixed", fixed=answering(b"{}", head=b""))
    body = bytes(index % 251 for index in range(min(size, 65536))) * (size // 65536 or 1)
    body = body[:size]

    reply = await on.ask("/api/gateway/shop/x", "POST", body=body)

    assert reply.status == 200
    assert on.pool.calls[0].body == body


async def test_a_client_that_expects_a_hundred_gets_it_after_its_size_was_judged(on: Stage) -> None:
    head = "POST /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n"
    reader, writer = await on.connect()
    writer.write(head.format(4).encode())
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"body")
    assert (await read_reply(reader)).json["body"] == "body"
    writer.write(head.format(7 * 1024 * 1024).encode())
    assert (await read_reply(reader)).status == 413
    writer.close()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
async def test_a_compressed_body_reaches_the_function_as_it_was_sent(on: Stage, encoding: str) -> None:
    body = gzip.compress(b'{"a": 1}', mtime=0)
    reply = await on.ask("/api/gateway/shop/x", "POST", [("Content-Encoding", encoding)], body)

    assert reply.status == 200
    assert on.pool.calls[0].body == body
    headers = reply.json["headers"]
    assert (headers["content-encoding"], headers["content-length"]) == (encoding, str(len(body)))


async def test_a_body_that_stops_coming_ends_the_request(on: Stage) -> None:
    on.gateway.body_seconds = 0.05
    reply = await on.raw(b"POST /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")

    assert reply.startswith(b"HTTP/1.1 408")
    assert b"Connection: close" in reply


async def test_a_body_that_drips_has_a_time_for_the_whole(on: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_parts, "__defaults__", (30.0, 0.2))
    reader, writer = await on.connect()
    writer.write(b"POST /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")

    async def drip() -> None:
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.02)

    dripping = asyncio.ensure_future(drip())
    try:
        assert (await read_reply(reader)).status == 408
    finally:
        dripping.cancel()


# CORS.


async def test_a_preflight_is_answered_by_the_gateway(on: Stage) -> None:
    on.play("PUT /a: echo", cors=("https://shop.example",))
    asked = [("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", "x-a, content-type")]

    reply = await on.ask("/api/gateway/shop/a", "OPTIONS", [("Origin", "https://shop.example"), *asked])
    assert reply.status == 204
    assert reply["Access-Control-Allow-Origin"] == "https://shop.example"
    assert reply["Access-Control-Allow-Methods"] == "PUT, OPTIONS"
    assert reply["Access-Control-Allow-Headers"] == "x-a, content-type"
    assert reply["Vary"] == "Origin"
    reply = await on.ask("/api/gateway/shop/a", "OPTIONS", [("Origin", "https://evil.example"), *asked])
    assert reply.status == 204
    assert not reply.all("Access-Control-Allow-Origin")
    assert not on.records


@pytest.mark.parametrize(
    ("cors", "origin", "allowed"),
    [
        ((), "https://a.example", []),
        (("*",), "https://a.example", ["*"]),
        (("https://a.example",), "https://a.example", ["https://a.example"]),
        (("https://a.example",), "https://b.example", []),
        (("https://a.example",), "null", []),
    ],
)
async def test_answers_may_be_read_by_the_named_origins(
    on: Stage, cors: tuple[str, ...], origin: str, allowed: list[str]
) -> None:
    on.play("GET /a: echo", cors=cors)

    for path, status in (("/a", 200), ("/b", 404)):
        reply = await on.ask(f"/api/gateway/shop{path}", headers=[("Origin", origin)])
        assert reply.status == status
        assert reply.all("Access-Control-Allow-Origin") == allowed


async def test_a_plain_options_may_be_read_by_the_named_origins(on: Stage) -> None:
    on.play("GET /a: echo", cors=("https://a.example",))

    reply = await on.ask("/api/gateway/shop/a", "OPTIONS", [("Origin", "https://a.example")])
    assert (reply.status, reply["Allow"]) == (204, "GET, HEAD, OPTIONS")
    assert reply["Access-Control-Allow-Origin"] == "https://a.example"
    assert not reply.all("Access-Control-Allow-Methods")


@pytest.mark.parametrize("origin", ["https://a.example", "https://b.example", None])
async def test_caches_are_told_that_answers_are_others_for_other_origins(on: Stage, origin: str | None) -> None:
    def told(status: int, *headers: tuple[str, str]) -> Function:
        return answering(b"x", status, headers)

    on.play(
        "GET /plain: echo",
        *(f"GET /{name}: {name}" for name in ("text", "none", "vary", "all", "own")),
        cors=("https://a.example",),
        text=told(200, ("Content-Type", "text/plain"), ("Cache-Control", "max-age=600")),
        none=told(304),
        vary=told(200, ("Vary", "Accept, accept-encoding"), ("vary", "Cookie")),
        all=told(200, ("Vary", "*")),
        own=told(200, ("Access-Control-Allow-Origin", "https://own.example"), ("Vary", "origin")),
    )
    headers = [] if origin is None else [("Origin", origin)]
    for method, path, vary in (
        ("GET", "plain", "Origin"),
        ("GET", "text", "Origin"),
        ("HEAD", "text", "Origin"),
        ("GET", "none", "Origin"),
        ("GET", "vary", "Accept, accept-encoding, Cookie, Origin"),
        ("GET", "all", "*"),
        ("GET", "own", "origin"),
        ("GET", "missing", "Origin"),
        ("POST", "plain", "Origin"),
        ("OPTIONS", "plain", "Origin"),
    ):
        reply = await on.ask(f"/api/gateway/shop/{path}", method, headers)
        assert (path, reply.all("Vary")) == (path, [vary])


async def test_any_origin_needs_no_word_to_caches_and_is_said_to_all(on: Stage) -> None:
    on.play("GET /a: echo", cors=("*",))

    for method in ("GET", "OPTIONS"):
        reply = await on.ask("/api/gateway/shop/a", method)
        assert (reply["Access-Control-Allow-Origin"], reply.all("Vary")) == ("*", [])


@pytest.mark.parametrize("cors", [(), ("https://a.example",), ("*",)])
async def test_a_page_without_an_origin_reads_the_description_that_it_documents(
    on: Stage, cors: tuple[str, ...]
) -> None:
    on.play("GET /openapi.json: api", cors=cors, api=answering(b"{}", headers=[("Content-Type", "application/json")]))

    described = await on.ask("/api/gateway/shop/openapi.json", headers=[("Origin", "null")])
    assert described["Access-Control-Allow-Origin"] in ("null", "*")
    again = await on.ask("/api/gateway/shop/openapi.json")
    assert again.all("Vary") == ([] if "*" in cors else ["Origin"])
    elsewhere = await on.ask("/openapi.json", headers=[("Origin", "null")], host="shop.localhost")
    assert elsewhere.all("Access-Control-Allow-Origin") == (["*"] if "*" in cors else [])


async def test_a_function_that_says_who_may_read_is_believed(on: Stage) -> None:
    mine = answering(b"", headers=[("Access-Control-Allow-Origin", "https://mine.example")])
    on.play("GET /a: mine", "GET /openapi.json: mine", cors=("*",), mine=mine)

    for path, origin in (("a", "https://x.example"), ("openapi.json", "null")):
        reply = await on.ask(f"/api/gateway/shop/{path}", headers=[("Origin", origin)])
        assert reply["Access-Control-Allow-Origin"] == "https://mine.example"


# Releases.


async def test_a_request_is_served_by_one_release(on: Stage) -> None:
    """A switch while a call runs changes nothing for it, however it ends."""
    on.play("ANY /*path: silent")
    asked = asyncio.create_task(on.ask("/api/gateway/shop/x"))
    while not on.pool.calls:
        await asyncio.sleep(0.001)
    on.gateway.publish(project_table(release=43), ["shop"])
    on.gateway.withdraw("id-shop")
    on.pool.calls[0].instance.calls.clear()
    on.pool.calls[0].sink.failed(FailureCode.CRASHED, "")

    reply = await asked
    assert (reply.status, reply["X-Clowdy-Release"]) == (502, "42")
    assert (await on.ask("/api/gateway/shop/x")).status == 404


async def test_names_come_and_go(on: Stage) -> None:
    on.gateway.publish(project_table("blog"), ["blog", "shop"])
    assert (await on.ask("/api/gateway/shop/x"))["X-Clowdy-Release"] == "42"
    assert on.gateway.live.by_path["shop"].project.name == "shop"
    on.gateway.publish(project_table("old-shop"), ["old-shop"])
    assert on.gateway.live.by_path["old-shop"].project.name == "old-shop"
    on.gateway.withdraw("id-blog")
    assert set(on.gateway.live.by_path) == set(on.gateway.live.by_host) == {"shop", "old-shop"}


async def test_a_candidate_has_no_number(on: Stage) -> None:
    on.gateway.publish(project_table(release=None), ["shop"])

    assert not (await on.ask("/api/gateway/shop/x")).all("X-Clowdy-Release")


# Clients that leave.


async def test_a_client_that_leaves_ends_its_call(on: Stage) -> None:
    on.play("ANY /*path: silent", silent=silent)
    _, writer = await on.connect()
    writer.write(b"GET /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\n\r\n")
    while not on.pool.calls:
        await asyncio.sleep(0.001)
    writer.close()
    async with asyncio.timeout(2):
        while not on.records:
            await asyncio.sleep(0.001)

    assert on.pool.calls[0].instance.cancelled == [1]
    assert not on.pool.leased
    assert (on.records[0].status, on.records[0].http_status, on.records[0].error) == ("error", None, "The client left")


async def test_a_client_that_leaves_while_it_waits_for_an_instance_waits_no_more(on: Stage) -> None:
    on.pool.gate = asyncio.Event()
    _, writer = await on.connect()
    writer.write(b"GET /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.05)
    writer.close()
    await asyncio.sleep(0.05)
    on.pool.gate.set()
    await asyncio.sleep(0.05)

    assert not on.pool.leased
    assert not on.pool.calls
