"""What a handler is given, and what becomes of what it returns."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest

from tests.contracts.world import World, ask, call, direct, request

ECHO = "def handler(event, context): return event"


async def test_a_gateway_call_becomes_an_event(world: World) -> None:
    instance = await world.serve(ECHO)
    head = request(
        "POST",
        "/users/7",
        query="page=2&empty=&flag&n=%C3%BC+x",
        params={"id": "7"},
        headers={"x-one": "1", "authorization": "Basic abc"},
    )
    assert (await call(instance, head, b'{"a": [1]}')).json == {
        "method": "POST",
        "path": "/users/7",
        "params": {"id": "7"},
        "query": {"page": "2", "empty": "", "flag": "", "n": "ü x"},
        "headers": {"x-one": "1", "authorization": "Basic abc"},
        "body": {"a": [1]},
    }


async def test_a_repeated_query_key_has_its_last_value_and_all_of_them(world: World) -> None:
    event = (await call(await world.serve(ECHO), request(query="a=1&b=x&a=2"))).json
    assert event["query"] == {"a": "2", "b": "x"}
    assert event["multiQuery"] == {"a": ["1", "2"], "b": ["x"]}


@pytest.mark.parametrize(
    ("raw", "value"),
    [("a=%zz", "%zz"), ("a=%", "%"), ("a=%ff", "\ufffd"), ("a=%2", "%2"), ("a=1%+2", "1% 2"), ("a=%F0%9F%98%80", "😀")],
)
async def test_a_query_that_is_badly_encoded_still_arrives(world: World, raw: str, value: str) -> None:
    assert (await call(await world.serve(ECHO), request(query=raw))).json["query"] == {"a": value}


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        (b"", None),
        (b"null", None),
        (b"12", 12),
        (b' {"a": "\\u00fc"} ', {"a": "ü"}),
        (b'"text"', "text"),
        (b"plain text", "plain text"),
        ("grüß".encode(), "grüß"),
        (b"{broken", "{broken"),
        (b"NaN", "NaN"),
        (b"1 2", "1 2"),
        (b"[" * 100_000, "[" * 100_000),
        (b"9" * 5000, "9" * 5000),
    ],
)
async def test_a_body_is_json_where_it_can_be_and_else_text(world: World, body: bytes, seen: Any) -> None:
    event = (await call(await world.serve(ECHO), request("POST"), body)).json
    assert event["body"] == seen
    assert "isBase64Encoded" not in event


async def test_a_binary_body_arrives_as_base64(world: World) -> None:
    body = bytes(range(256))
    event = (await call(await world.serve(ECHO), request("PUT"), body)).json
    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == body


async def test_bodies_of_six_megabytes_arrive_whole(world: World) -> None:
    body = b"\xff" * (6 * 1024 * 1024)
    source = "def handler(event): return len(event['body'])"
    assert (await call(await world.serve(source), request("POST"), body)).json == 8388608


@pytest.mark.parametrize("event", [{"a": 1}, [1, 2], "text", None, 1.5])
async def test_the_event_of_a_direct_call_is_the_callers_json(world: World, event: Any) -> None:
    assert (await ask(await world.serve(ECHO), event)).json == event


async def test_direct_input_that_is_not_json_is_said(world: World) -> None:
    outcome = await call(await world.serve(ECHO), direct(), b"{")
    assert (outcome.code, outcome.text) == ("function_failed", "Invalid JSON input")


async def test_the_context_reads_as_attributes_and_as_a_mapping(world: World) -> None:
    source = """
        import json
        NAMES = ("function_name", "function_version", "project", "release", "request_id", "runtime", "trigger")
        def handler(event, context):
            assert all(getattr(context, name) == context[name] for name in NAMES)
            assert context.deadline == context["deadline"] and json.dumps(dict(context))
            assert context.get("nothing") is None and "release" in context and not hasattr(context, "nothing")
            return [{name: context[name] for name in NAMES}, context.deadline, context.remaining_ms()]
        """
    names, deadline, remaining = (await call(await world.serve(source), request(timeout=10))).json
    assert names == {
        "function_name": "hello",
        "function_version": 3,
        "project": "shop",
        "release": 7,
        "request_id": "00112233aabb",
        "runtime": "python",
        "trigger": "gateway",
    }
    assert abs(deadline - time.time() - 10) < 2
    assert 8000 < remaining <= 10000


@pytest.mark.parametrize(
    "source",
    [
        "def handler(event, context): return context.trigger",
        "async def handler(event, context): return context.trigger",
        "def handler(*args): return args[1].trigger",
        "def handler(event, context=None): return context.trigger",
        "class C:\n    def method(self, event, context): return context.trigger\nhandler = C().method",
        "class C:\n    def __call__(self, event, context): return context.trigger\nhandler = C()",
        "import functools\ndef f(a, event, context): return context.trigger\nhandler = functools.partial(f, 1)",
        "import functools\ndef d(f):\n    @functools.wraps(f)\n    def w(*a, **k): return f(*a, **k)\n    return w\n"
        "@d\ndef handler(event, context): return context.trigger",
    ],
)
async def test_the_context_is_given_to_whoever_takes_it(world: World, source: str) -> None:
    assert (await ask(await world.serve(source))).json == "direct"


@pytest.mark.parametrize(
    "source",
    [
        "def handler(event): return event",
        "handler = lambda event: event",
        "def handler(event, *, option=1): return event",
        "class C:\n    def method(self, event): return event\nhandler = C().method",
        "import functools\ndef d(f):\n    @functools.wraps(f)\n    def w(*a, **k): return f(*a, **k)\n    return w\n"
        "@d\ndef handler(event): return event",
        "handler = dict",
        "async def inner(event): return event\nhandler = lambda event: inner(event)",
    ],
)
async def test_handlers_of_the_event_alone_work(world: World, source: str) -> None:
    assert (await ask(await world.serve(source), {"a": 1})).json == {"a": 1}


JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
BINARY = "application/octet-stream"


@pytest.mark.parametrize(
    ("value", "status", "content_type", "body"),
    [
        ("{'a': 1}", 200, JSON, b'{"a":1}'),
        ("[1, None, True]", 200, JSON, b"[1,null,true]"),
        ("None", 200, JSON, b"null"),
        ("1.5", 200, JSON, b"1.5"),
        ("'grüß'", 200, TEXT, "grüß".encode()),
        ("''", 200, TEXT, b""),
        (r"b'\x00\xff'", 200, BINARY, b"\x00\xff"),
        ("{'statusCode': 201, 'body': {'a': 1}}", 201, JSON, b'{"a":1}'),
        ("{'statusCode': 404, 'body': 'no'}", 404, TEXT, b"no"),
        ("{'statusCode': 200, 'body': b'x', 'headers': {'Content-Type': 'image/png'}}", 200, "image/png", b"x"),
        ("{'statusCode': 200, 'body': '<p>', 'headers': {'content-type': 'text/html'}}", 200, "text/html", b"<p>"),
        ("{'statusCode': 200, 'body': 'aGk=', 'isBase64Encoded': True}", 200, BINARY, b"hi"),
        ("{'statusCode': 200, 'body': 7}", 200, JSON, b"7"),
        ("{'statusCode': 200, 'body': None}", 200, JSON, b"null"),
        ("__import__('http').HTTPStatus.OK", 200, JSON, b"200"),
        ("{'statusCode': 410}", 410, TEXT, b""),
        ("{'statusCode': __import__('http').HTTPStatus.GONE, 'body': ''}", 410, TEXT, b""),
        (r"{'a': '\ud800'}", 200, JSON, b'{"a":"\\ud800"}'),
        ("{1: 'x'}", 200, JSON, b'{"1":"x"}'),
        ("(1, 2)", 200, JSON, b"[1,2]"),
    ],
)
async def test_what_is_returned_becomes_an_answer(
    world: World, value: str, status: int, content_type: str, body: bytes
) -> None:
    outcome = await call(await world.serve(f"def handler(event): return {value}"), request())
    assert outcome.status == status
    assert outcome.header("content-type") == [content_type]
    assert outcome.body == body


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_content_has_none(world: World, status: int) -> None:
    source = f"def handler(event): return {{'statusCode': {status}, 'body': 'x'}}"
    outcome = await call(await world.serve(source), request())
    assert (outcome.status, outcome.body, outcome.header("content-type")) == (status, b"", [])


async def test_headers_and_cookies_are_sent(world: World) -> None:
    source = """
        def handler(event):
            return {
                "statusCode": 302,
                "headers": {"Location": "/next", "X-Count": 3, "X-Many": ["a", "b"]},
                "cookies": ["a=1; HttpOnly", "b=2"],
            }
        """
    outcome = await call(await world.serve(source), request())
    assert outcome.header("location") == ["/next"]
    assert outcome.header("x-count") == ["3"]
    assert outcome.header("x-many") == ["a", "b"]
    assert outcome.header("set-cookie") == ["a=1; HttpOnly", "b=2"]


async def test_headers_of_the_connection_are_the_servers_own(world: World) -> None:
    names = ("Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length", "Upgrade", "TE", "Trailer")
    headers = dict.fromkeys(names, "5")
    source = f"def handler(event): return {{'statusCode': 200, 'headers': {headers!r}, 'body': 'x'}}"
    outcome = await call(await world.serve(source), request())
    assert [name for name, _ in outcome.answer.headers] == ["Content-Type"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{1, 2}", "Function returned non-JSON-serializable value: set"),
        ("object()", "Function returned non-JSON-serializable value: object"),
        ("float('nan')", "Function returned non-JSON-serializable value: float"),
        ("{'a': float('inf')}", "Function returned non-JSON-serializable value: dict"),
        ("{'a': b'x'}", "Function returned non-JSON-serializable value: dict"),
        ("{(1, 2): 3}", "Function returned non-JSON-serializable value: dict"),
        ("(x := []) or x.append(x) or x", "Function returned non-JSON-serializable value: list"),
        ("__import__('functools').reduce(lambda a, _: [a], range(100000), 0)", "nested too deeply"),
        ("{'statusCode': 199}", "statusCode is 199"),
        ("{'statusCode': 600}", "statusCode is 600"),
        ("{'statusCode': '200'}", "statusCode is '200'"),
        ("{'statusCode': True}", "statusCode is True"),
        ("{'statusCode': None}", "statusCode is None"),
        ("{'statusCode': 200.0}", "statusCode is 200.0"),
        ("{'statusCode': 200, 'headers': []}", "headers must be a dict"),
        ("{'statusCode': 200, 'headers': {'a b': 'x'}}", "header name 'a b'"),
        ("{'statusCode': 200, 'headers': {'': 'x'}}", "header name ''"),
        ("{'statusCode': 200, 'headers': {'a:': 'x'}}", "header name 'a:'"),
        ("{'statusCode': 200, 'headers': {'ä': 'x'}}", "header name"),
        ("{'statusCode': 200, 'headers': {3: 'x'}}", "header name 3"),
        (r"{'statusCode': 200, 'headers': {'a': 'x\r\nset-cookie: y'}}", "header a holds what HTTP forbids"),
        (r"{'statusCode': 200, 'headers': {'a': 'x\n'}}", "header a holds what HTTP forbids"),
        (r"{'statusCode': 200, 'headers': {'a': '\x00'}}", "header a holds what HTTP forbids"),
        ("{'statusCode': 200, 'headers': {'a': '€'}}", "header a holds what HTTP forbids"),
        ("{'statusCode': 200, 'headers': {'a': None}}", "header a is NoneType"),
        ("{'statusCode': 200, 'cookies': 'a=1'}", "cookies must be a list"),
        (r"{'statusCode': 200, 'cookies': ['a=1\r\nx: y']}", "Set-Cookie holds what HTTP forbids"),
        ("{'statusCode': 200, 'body': 'no!', 'isBase64Encoded': True}", "not base64"),
        ("{'statusCode': 200, 'body': 3, 'isBase64Encoded': True}", "not base64"),
        ("{'statusCode': 200, 'body': 'x', 'isBase64Encoded': 'yes'}", "isBase64Encoded must be"),
        ("{'statusCode': 200, 'body': object()}", "Function returned non-JSON-serializable value: object"),
        (r"'\ud800'", "UTF-8"),
        ("'x' * 6291457", "6291456"),
        ("b'x' * 6291457", "6291456"),
        ("['x' * 6291457]", "6291456"),
    ],
)
async def test_what_cannot_be_sent_is_a_bad_response(world: World, value: str, said: str) -> None:
    instance = await world.serve(f"def handler(event): return ({value}) if event['path'] == '/bad' else 'good'")
    outcome = await call(instance, request(path="/bad"))
    assert outcome.code == "bad_response"
    assert said in outcome.text
    assert said in outcome.log
    assert (await call(instance, request())).body == b"good"


async def test_the_largest_answer_is_sent_whole(world: World) -> None:
    outcome = await call(await world.serve("def handler(event): return b'x' * 6291456"), request())
    assert len(outcome.body) == 6291456


async def test_a_direct_call_has_the_value_itself(world: World) -> None:
    source = "def handler(event): return {'statusCode': 999, 'body': 'x'}"
    assert (await ask(await world.serve(source))).json == {"statusCode": 999, "body": "x"}
    assert (await ask(await world.serve("def handler(event): return 'text'"))).json == "text"
    assert (await ask(await world.serve("def handler(event): return b'hi'"))).json == {
        "body": "aGk=",
        "isBase64Encoded": True,
    }


async def test_calls_of_an_async_handler_share_one_loop_for_the_life_of_the_instance(world: World) -> None:
    source = """
        import asyncio
        loops = set()
        background = []
        async def handler(event):
            loops.add(id(asyncio.get_running_loop()))
            if not background:
                background.append(asyncio.create_task(asyncio.sleep(0.01)))
            else:
                await background[0]
            return len(loops)
        """
    instance = await world.serve(source)
    assert [(await ask(instance)).json for _ in range(3)] == [1, 1, 1]


async def test_calls_of_an_async_handler_can_run_at_once(world: World) -> None:
    source = """
        import asyncio
        waiting = asyncio.Barrier(3)
        async def handler(event):
            print("in", event)
            async with waiting:
                print("out", event)
                return event
        """
    instance = await world.serve(source)
    outcomes = await asyncio.gather(*(ask(instance, number) for number in range(3)))
    assert [outcome.json for outcome in outcomes] == [0, 1, 2]
    assert [outcome.log for outcome in outcomes] == [f"in {number}\nout {number}\n" for number in range(3)]


async def test_module_state_lives_as_long_as_its_instance(world: World) -> None:
    instance = await world.serve("calls = []\ndef handler(event):\n    calls.append(event)\n    return calls")
    assert [json.loads((await ask(instance, n)).body) for n in range(2)] == [[0], [0, 1]]


async def test_a_large_body_of_a_handler_arrives_whole(world: World) -> None:
    instance = await world.serve("def handler(event): return [len(event['body']), event['body'][-1]]")
    assert (await call(instance, request("POST"), b"x" * 4_999_999 + b"y")).json == [5_000_000, "y"]
    binary = (await call(instance, request("POST"), b"\xff" * 3_000_000)).json
    assert binary == [4_000_000, "/"]
