"""ASGI and WSGI applications: what they are told, what becomes of what they say, and how they start."""

from __future__ import annotations

import asyncio
from textwrap import dedent, indent
from typing import Any

import pytest

from clowdy.runtimes.api import FailureCode, Handler, Ready, Shape, StartFailed, StartReason, kind_of
from clowdy.runtimes.inside.frames import WINDOW
from clowdy.schema.manifest import HandlerType
from tests.contracts.world import FILE, World, application, begin, call, told

ASGI = """
import asyncio, json, sys, time
closed = []

async def answer(send, body, status=200, headers=()):
    if not isinstance(body, bytes):
        body = json.dumps(body, default=lambda value: value.decode("latin-1")).encode()
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})

async def handler(scope, receive, send):
    assert scope["type"] == "http"
"""

WSGI = """
import io, json, sys, time
closed = []

def handler(environ, start_response):
"""


def asgi(body: str) -> str:
    return ASGI + indent(dedent(body), "    ")


def wsgi(body: str) -> str:
    return WSGI + indent(dedent(body), "    ")


# What they are told.

SCOPE = asgi(
    """
    shown = {key: value for key, value in scope.items() if key not in ("clowdy", "state")}
    shown["context"] = dict(scope["clowdy"])
    await answer(send, shown)
    """
)


async def scope_of(world: World, head: bytes) -> dict[str, Any]:
    found: dict[str, Any] = (await call(await world.serve(SCOPE), head)).json
    return found


@pytest.mark.parametrize(
    ("routing", "path"),
    [("def get_route_path(scope): ...\n", "/api/gateway/shop/a"), ("def request_response(call): ...\n", "/a")],
)
async def test_a_starlette_that_does_not_take_the_prefix_off_is_not_given_it(
    world: World, routing: str, path: str
) -> None:
    """Starlette does since 0.33, and FastAPI with it since 0.108; older ones would answer 404 to everything."""
    files = {"starlette/__init__.py": "", "starlette/routing.py": routing, FILE: "import starlette.routing\n" + SCOPE}
    scope = (await call(await world.serve(files), told("GET", "/a"))).json
    assert (scope["path"], scope["root_path"]) == (path, "/api/gateway/shop")


async def test_an_asgi_scope_is_what_a_reverse_proxy_would_give(world: World) -> None:
    scope = await scope_of(world, told("POST", "/a b/ü", raw_path="/a%20b/%C3%BC/", query="x=1&y=%20"))
    context = scope.pop("context")
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/api/gateway/shop/a b/ü/",
        "root_path": "/api/gateway/shop",
        "raw_path": "/api/gateway/shop/a%20b/%C3%BC/",
        "query_string": "x=1&y=%20",
        "headers": [["host", "shop.example:8000"]],
        "client": ["203.0.113.7", 4711],
        "server": ["shop.example", 8000],
        "extensions": {},
    }
    assert (context["release"], context["request_id"], context["trigger"]) == (7, "00112233aabb", "gateway")
    assert context["function_name"] == "hello"


async def test_on_a_host_of_its_own_an_application_has_no_root_path(world: World) -> None:
    scope = await scope_of(world, told(path="/x", prefix="", scheme="https", headers={"host": "[::1]"}, client=None))
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("", "/x", "/x")
    assert (scope["scheme"], scope["server"], scope["client"]) == ("https", ["[::1]", 443], None)


async def test_headers_that_were_sent_apart_stay_apart(world: World) -> None:
    fields = [["host", "x"], ["x-a", "1"], ["x-a", "2"], ["x-b", "\u00fc"], ["cookie", "a=1"]]
    scope = await scope_of(world, told(headers={"host": "x", "x-a": "1, 2"}, fields=fields, host="real.example"))
    assert scope["headers"] == [["host", "real.example"], *fields[1:]]


ENVIRON = wsgi(
    """
    shown = {key: value for key, value in environ.items() if isinstance(value, (str, bool, tuple))}
    shown["body"] = environ["wsgi.input"].read().decode("latin-1")
    shown["context"] = dict(environ["clowdy.context"])
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(shown).encode()]
    """
)


async def test_a_wsgi_environ_is_what_a_reverse_proxy_would_give(world: World) -> None:
    headers = {"host": "shop.example", "content-type": "text/plain", "x-one": "1, 2", "x_one": "forged"}
    head = told("PUT", "/a b/ü", raw_path="/a%20b/%C3%BC/", query="x=1", headers=headers)
    environ = (await call(await world.serve(ENVIRON), head, b"a\xff")).json
    context = environ.pop("context")
    assert environ == {
        "REQUEST_METHOD": "PUT",
        "SCRIPT_NAME": "/api/gateway/shop",
        "PATH_INFO": "/a b/ü/".encode().decode("latin-1"),
        "QUERY_STRING": "x=1",
        "REQUEST_URI": "/api/gateway/shop/a%20b/%C3%BC/?x=1",
        "SERVER_NAME": "shop.example",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "203.0.113.7",
        "REMOTE_PORT": "4711",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "2",
        "HTTP_HOST": "shop.example",
        "HTTP_X_ONE": "1, 2",
        "wsgi.version": [1, 0],
        "wsgi.url_scheme": "http",
        "wsgi.input_terminated": True,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "body": "a\u00ff",
    }
    assert (context["release"], context["request_id"]) == (7, "00112233aabb")


# Bodies.


@pytest.mark.parametrize("size", [0, 1, 65536, 5_000_000])
async def test_a_request_body_arrives_whole(world: World, size: int) -> None:
    source = asgi(
        """
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        await answer(send, [len(body), body[:3], body[-3:]])
        """
    )
    body = (b"abcdefg" * (size // 7 + 1))[:size]
    expected = [size, body[:3].decode(), body[-3:].decode()]
    assert (await call(await world.serve(source), told("POST"), body)).json == expected
    source = wsgi(
        """
        body = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [json.dumps([len(body), body[:3].decode(), body[-3:].decode()]).encode()]
        """
    )
    assert (await call(await world.serve(source), told("POST"), body)).json == expected


# What they say.


async def test_status_and_headers_are_the_applications_own(world: World) -> None:
    instance = await world.serve(
        asgi("await answer(send, b'x', 201, [(b'set-cookie', b'a=1'), (b'set-cookie', b'b=2'), (b'x-b', b'\\xfc')])")
    )
    outcome = await call(instance, told())
    assert (outcome.status, outcome.body) == (201, b"x")
    assert outcome.header("set-cookie") == ["a=1", "b=2"]
    assert outcome.header("x-b") == ["\u00fc"]
    headers = "[('Set-Cookie', 'a=1'), ('Set-Cookie', 'b=2')]"
    outcome = await call(await world.serve(wsgi(f"start_response('201 Made', {headers})\nreturn [b'x']")), told())
    assert (outcome.status, outcome.body, outcome.header("set-cookie")) == (201, b"x", ["a=1", "b=2"])


LARGE = {
    "asgi": asgi("await answer(send, b'x' * 8_000_000)"),
    "asgi pieces": asgi(
        """
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(8):
            await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})
        await send({"type": "http.response.body"})
        """
    ),
    "wsgi": wsgi("start_response('200 OK', [])\nreturn [b'x' * 8_000_000]"),
    "wsgi pieces": wsgi("start_response('200 OK', [])\nreturn (b'x' * 1_000_000 for _ in range(8))"),
    "wsgi write": wsgi("write = start_response('200 OK', [])\nfor _ in range(8): write(b'x' * 1_000_000)\nreturn []"),
}


@pytest.mark.parametrize("source", LARGE.values(), ids=LARGE)
async def test_a_slow_reader_holds_the_application(world: World, source: str) -> None:
    instance = await world.serve(source)
    sink = begin(instance, told(), reads=False)
    await sink.until(lambda sink: sum(map(len, sink.pieces)) >= WINDOW)
    await asyncio.sleep(0.2)
    assert sum(map(len, sink.pieces)) <= WINDOW + 65536
    instance.credit(sink.number, 8_000_000)
    assert len((await sink.ended).body) == 8_000_000


STREAMS = {
    "asgi": asgi(
        """
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        time.sleep(30)
        """
    ),
    "wsgi": WSGI
    + """
    start_response("200 OK", [])
    yield b"one"
    time.sleep(30)
""",
    "wsgi write": wsgi("start_response('200 OK', [])(b'one')\ntime.sleep(30)"),
}


@pytest.mark.parametrize("source", STREAMS.values(), ids=STREAMS)
async def test_pieces_come_as_they_are_sent_and_end_at_the_time_of_the_call(world: World, source: str) -> None:
    instance = await world.serve(source)
    sink = begin(instance, told(), timeout=1.0)
    await sink.until(lambda sink: sink.pieces == [b"one"])
    assert (await sink.ended).code is FailureCode.TIMEOUT


# What goes wrong.

RAISING = {
    "asgi": asgi("print('here')\nraise KeyError('plan')"),
    "asgi after its head": asgi(
        "print('here')\nawait send({'type': 'http.response.start', 'status': 200})\nraise KeyError('plan')"
    ),
    "a framework's own words": asgi(
        "print('here')\nawait answer(send, b'Internal Server Error', 500)\nraise KeyError('plan')"
    ),
    "wsgi": wsgi("print('here')\nraise KeyError('plan')"),
    "wsgi after its head": wsgi("print('here')\nstart_response('200 OK', [])\nraise KeyError('plan')"),
    "wsgi while it is read": WSGI
    + "    print('here')\n    start_response('200 OK', [])\n    raise KeyError('plan')\n    yield\n",
}


@pytest.mark.parametrize("source", RAISING.values(), ids=RAISING)
async def test_an_exception_fails_the_call_as_a_handlers_does(world: World, source: str) -> None:
    instance = await world.serve(source)
    outcome = await call(instance, told())
    assert outcome.code is FailureCode.FUNCTION_FAILED
    assert outcome.text.endswith("KeyError: 'plan'")
    assert "_clowdy" not in outcome.text
    assert outcome.log == f"here\n{outcome.text}\n"
    assert instance.alive
    assert (await call(instance, told())).code is FailureCode.FUNCTION_FAILED


async def test_an_error_page_of_the_application_is_sent_and_the_log_has_the_exception(world: World) -> None:
    outcome = await call(await world.serve(asgi("await answer(send, b'sorry', 500)\nraise KeyError('plan')")), told())
    assert (outcome.status, outcome.body) == (500, b"sorry")
    assert "KeyError: 'plan'" in outcome.log


BREAKING = {
    "asgi": asgi(
        """
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        raise KeyError("plan")
        """
    ),
    "wsgi": WSGI + "    start_response('200 OK', [])\n    yield b'one'\n    raise KeyError('plan')\n",
}


@pytest.mark.parametrize("source", BREAKING.values(), ids=BREAKING)
async def test_an_exception_in_the_middle_ends_the_stream(world: World, source: str) -> None:
    outcome = await call(await world.serve(source), told())
    assert (outcome.code, outcome.pieces) == (FailureCode.FUNCTION_FAILED, (b"one",))
    assert "KeyError: 'plan'" in outcome.log


BAD = {
    "a length that is too large": asgi("await answer(send, b'x', 200, [(b'content-length', b'2')])"),
    "a length that is too small": asgi("await answer(send, b'xxx', 200, [(b'Content-Length', b'2')])"),
    "no answer": asgi("pass"),
    "a head alone": asgi("await send({'type': 'http.response.start', 'status': 200})"),
    "no end": asgi(
        "await send({'type': 'http.response.start', 'status': 200})\n"
        "await send({'type': 'http.response.body', 'body': b'x', 'more_body': True})"
    ),
    "a length that is too large, wsgi": wsgi("start_response('200 OK', [('Content-Length', '2')])\nreturn [b'x']"),
    "a length and no body, wsgi": wsgi("start_response('200 OK', [('Content-Length', '2')])\nreturn []"),
    "no start_response": wsgi("return [b'x']"),
    "no start_response and no body": wsgi("return []"),
    "no status": wsgi("start_response('fine', [])\nreturn [b'x']"),
}


@pytest.mark.parametrize("source", BAD.values(), ids=BAD)
async def test_an_answer_that_breaks_its_own_word_is_a_bad_response(world: World, source: str) -> None:
    instance = await world.serve(source)
    assert (await call(instance, told())).code is FailureCode.BAD_RESPONSE
    assert (await call(instance, told())).code is FailureCode.BAD_RESPONSE


async def test_the_length_of_an_answer_to_head_is_that_of_the_body_that_get_would_have(world: World) -> None:
    outcome = await call(
        await world.serve(asgi("await answer(send, b'', 200, [(b'content-length', b'20')])")), told("HEAD")
    )
    assert outcome.header("content-length") == ["20"]
    source = wsgi("start_response('200 OK', [('Content-Length', '20')])\nreturn []")
    assert (await call(await world.serve(source), told("HEAD"))).header("content-length") == ["20"]


TWICE = {
    "headers": "await send({'type': 'http.response.start', 'status': 200})",
    "a body before its head": "await send({'type': 'http.response.body'})",
    "something unheard": "await send({'type': 'http.response.sing'})",
}


@pytest.mark.parametrize("first", ["headers", "a body before its head", "something unheard"])
async def test_what_the_protocol_forbids_raises_in_the_application(world: World, first: str) -> None:
    begins = TWICE["headers"] if first == "headers" else "pass"
    source = asgi(
        f"""
{begins}
try:
    {TWICE[first]}
except RuntimeError as error:
    print(error)
{"pass" if first == "headers" else TWICE["headers"]}
await send({{"type": "http.response.body", "body": b"x"}})
"""
    )
    outcome = await call(await world.serve(source), told())
    assert (outcome.status, outcome.body) == (200, b"x")
    assert outcome.log.count("\n") == 1


async def test_what_is_sent_after_the_end_raises_in_the_application(world: World) -> None:
    source = asgi(
        """
        await answer(send, b"x")
        try:
            await send({"type": "http.response.body", "body": b"y"})
        except RuntimeError as error:
            print(error)
        print((await receive())["type"], (await receive())["type"])
        """
    )
    outcome = await call(await world.serve(source), told())
    assert outcome.body == b"x"
    assert "after the end of the answer" in outcome.log


async def test_headers_that_are_said_twice_raise_in_a_wsgi_application(world: World) -> None:
    source = wsgi(
        """
        start_response("200 OK", [])
        try:
            start_response("201 Made", [])
        except AssertionError as error:
            print(error)
        try:
            raise KeyError("plan")
        except KeyError:
            start_response("202 Taken", [], sys.exc_info())
        return [b"x"]
        """
    )
    outcome = await call(await world.serve(source), told())
    assert (outcome.status, outcome.log) == (202, "start_response was called twice\n")
    source = wsgi(
        """
        start_response("200 OK", [])(b"one")
        try:
            raise KeyError("plan")
        except KeyError:
            start_response("500 Sorry", [], sys.exc_info())
        """
    )
    outcome = await call(await world.serve(source), told())
    assert (outcome.code, outcome.pieces) == (FailureCode.FUNCTION_FAILED, (b"one",))
    assert "KeyError: 'plan'" in outcome.log


@pytest.mark.parametrize("how", ["read", "fails", "leaves"])
async def test_what_a_wsgi_application_returns_is_closed_in_every_case(world: World, how: str) -> None:
    source = wsgi(
        """
        if environ["QUERY_STRING"] == "closed":
            start_response("200 OK", [])
            return [str(len(closed)).encode()]
        start_response("200 OK", [])
        class Body:
            def __iter__(self):
                yield b"one"
                if environ["QUERY_STRING"] == "fails":
                    raise KeyError
                while environ["QUERY_STRING"] == "leaves":
                    time.sleep(0.01)
                    yield b"more"
            def close(self):
                closed.append(1)
        return Body()
        """
    )
    instance = await world.serve(source)
    sink = begin(instance, told(query=how))
    if how == "leaves":
        await sink.until(lambda sink: len(sink.pieces) > 2)
        instance.cancel(sink.number)
        async with asyncio.timeout(4):
            while instance.busy:
                await asyncio.sleep(0.01)
    else:
        await sink.ended
    assert (await call(instance, told(query="closed"))).body == b"1"


async def test_wsgi_headers_that_no_bytes_can_be_are_a_bad_response(world: World) -> None:
    source = wsgi("""
        start_response("200 OK", [("X-A", chr(0xe9) if environ["QUERY_STRING"] else chr(0x20ac))])
        return [b"x"]
        """)
    instance = await world.serve(source)
    outcome = await call(instance, told())
    assert (outcome.code, "X-A" in outcome.log) == (FailureCode.BAD_RESPONSE, True)
    assert (await call(instance, told(query="latin"))).header("x-a") == ["\xe9"]


# A client that leaves.


async def test_a_client_that_leaves_is_a_disconnect(world: World) -> None:
    source = asgi(
        """
        if scope["query_string"] == b"closed":
            return await answer(send, closed)
        await receive()
        closed.append((await receive())["type"])
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x"})
        except OSError as error:
            closed.append(type(error).__name__)
        """
    )
    instance = await world.serve(source)
    sink = begin(instance, told())
    await asyncio.sleep(0.1)
    instance.cancel(sink.number)
    async with asyncio.timeout(4):
        while instance.busy:
            await asyncio.sleep(0.01)
    assert instance.alive
    assert (await call(instance, told(query="closed"))).json == ["http.disconnect", "Gone"]


async def test_an_application_that_does_not_listen_is_cancelled_after_a_while(world: World) -> None:
    source = asgi(
        """
        if scope["query_string"] == b"closed":
            return await answer(send, closed)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            closed.append("cancelled")
            raise
        """
    )
    instance = await world.serve(source)
    sink = begin(instance, told(), timeout=30)
    await asyncio.sleep(0.1)
    instance.cancel(sink.number)
    assert (await call(instance, told(query="closed"))).json == []
    async with asyncio.timeout(8):
        while instance.busy:
            await asyncio.sleep(0.05)
    assert (await call(instance, told(query="closed"))).json == ["cancelled"]


async def test_work_after_the_answer_does_not_hold_it_up(world: World) -> None:
    source = asgi(
        """
        if scope["query_string"] == b"done":
            return await answer(send, closed)
        await answer(send, b"x")
        await asyncio.sleep(0.3)
        closed.append("done")
        """
    )
    instance = await world.serve(source)
    assert (await call(instance, told())).body == b"x"
    assert instance.busy == 0
    assert (await call(instance, told(query="done"))).json == []
    await asyncio.sleep(0.5)
    assert (await call(instance, told(query="done"))).json == ["done"]


# How they start.

LIFESPAN = """
import asyncio
events = []

async def handler(scope, receive, send):
    if scope["type"] == "lifespan":
        message = await receive()
        events.append(message["type"])
        scope["state"]["pool"] = "open"
        print("starting")
        STARTS
        await receive()
        events.append("shut down")
        return
    body = repr([events, dict(scope["state"])]).encode()
    scope["state"]["mine"] = 1
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""


async def test_lifespan_runs_once_before_the_first_call(world: World) -> None:
    source = LIFESPAN.replace("STARTS", 'await send({"type": "lifespan.startup.complete"})')
    instance, ready = await world.take(application(source))
    assert (ready.shape, ready.log) == (Shape.ASGI, "starting\n")
    for _ in range(2):
        assert (await call(instance, told())).body == b"[['lifespan.startup'], {'pool': 'open'}]"


@pytest.mark.parametrize(
    "fails",
    [
        'await send({"type": "lifespan.startup.failed", "message": "no database"})',
        'raise ValueError("no database")',
        'raise SystemExit("no database")',
    ],
)
@pytest.mark.parametrize("probed", [False, True])
async def test_a_start_that_fails_is_told_with_its_text(world: World, fails: str, probed: bool) -> None:
    wanted = application(LIFESPAN.replace("STARTS", fails))
    if probed:
        instance = await world.driver.start(kind_of(wanted))
        results: list[Ready | StartFailed] = []
        await instance.probe(wanted, [wanted.handler], 10, results.append)
        (failed,) = results
        assert isinstance(failed, StartFailed)
    else:
        with pytest.raises(StartFailed) as caught:
            await world.take(wanted)
        failed = caught.value
    assert failed.reason is StartReason.EXCEPTION
    assert "no database" in failed.text
    assert failed.log == "starting\n"


async def test_a_start_that_never_ends_is_ended(world: World) -> None:
    with pytest.raises(StartFailed) as caught:
        await world.take(application(LIFESPAN.replace("STARTS", "await asyncio.sleep(60)")), timeout=2)
    assert caught.value.reason is StartReason.TIMEOUT


@pytest.mark.parametrize(
    "knows_none",
    [
        "    assert scope['type'] == 'http'\n",
        "    if scope['type'] != 'http': return\n",
        "    await receive()\n    print(scope['path'])\n",
        "",
        "    while scope['type'] != 'http': await send({'type': 'http.response.body', 'more_body': True})\n",
    ],
)
async def test_an_application_without_lifespan_goes_on(world: World, knows_none: str) -> None:
    source = f"async def handler(scope, receive, send):\n{knows_none}" + (
        "    await send({'type': 'http.response.start', 'status': 200})\n"
        "    await send({'type': 'http.response.body', 'body': b'x'})\n"
    )
    assert (await call(await world.serve(source), told())).body == b"x"


@pytest.mark.parametrize(
    ("kind", "takes"),
    [
        (HandlerType.ASGI, "An ASGI application takes scope, receive, send: this one takes 1 arguments"),
        (HandlerType.WSGI, "A WSGI application takes environ, start_response: this one takes 1 arguments"),
    ],
)
async def test_a_type_that_the_handler_is_not_fails_its_start(world: World, kind: HandlerType, takes: str) -> None:
    with pytest.raises(StartFailed) as caught:
        await world.take(application("def handler(event): ...", kind=kind))
    assert caught.value.reason is StartReason.NOT_CALLABLE
    assert caught.value.text == takes


async def test_an_application_may_have_any_name(world: World) -> None:
    files = {"main.py": "class App:\n    async def __call__(self, scope, receive, send): ...\napp = App()\n"}
    _, ready = await world.take(application(files, handler=Handler("main.py", "app")))
    assert ready.shape is Shape.ASGI


async def test_applications_are_told_from_handlers(world: World) -> None:
    for source, is_application in ((SCOPE, True), (ENVIRON, True), ("def handler(event): ...", False)):
        assert (await world.serve(source)).is_application is is_application
