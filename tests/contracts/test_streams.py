"""Generators: their pieces come as they are made, as fast as they are taken, and end with whoever takes them."""

from __future__ import annotations

import asyncio
import json

import pytest

from clowdy.runtimes.api import FailureCode, Shape
from clowdy.runtimes.inside.frames import WINDOW
from tests.contracts.world import World, application, ask, begin, call, request

FORMS = {
    "generator": "def handler(event):\n",
    "async generator": "async def handler(event):\n",
    "returned generator": "def handler(event):\n    return each(event)\ndef each(event):\n",
    "returned async generator": "def handler(event):\n    return each(event)\nasync def each(event):\n",
    "awaited generator": "async def handler(event):\n    return each(event)\ndef each(event):\n",
    "awaited async generator": "async def handler(event):\n    return each(event)\nasync def each(event):\n",
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    """The beginning of a handler; the body of a generator follows, indented by four."""
    return "import time\nclosed = []\n" + FORMS[request.param]


async def test_pieces_come_as_they_are_yielded(world: World, form: str) -> None:
    instance = await world.serve(form + "    yield 'one'\n    yield b'two'\n")
    outcome = await call(instance)
    assert outcome.pieces == (b"one", b"two")
    assert (outcome.status, outcome.header("content-type")) == (200, ["text/plain; charset=utf-8"])
    assert (await call(instance)).body == b"onetwo"


async def test_the_first_piece_does_not_wait_for_the_second(world: World, form: str) -> None:
    instance = await world.serve(form + "    yield 'one'\n    time.sleep(30)\n    yield 'two'\n")
    sink = begin(instance, timeout=1.0)
    await sink.until(lambda sink: sink.pieces == [b"one"])
    assert not sink.ended.done()
    assert (await sink.ended).code is FailureCode.TIMEOUT


@pytest.mark.parametrize(
    ("yielded", "kind", "body"),
    [
        (["'a'", "b'b'", "{'c': 1}"], "text/plain; charset=utf-8", b'ab{"c":1}\n'),
        (["b'\\xff'"], "application/octet-stream", b"\xff"),
        (["{'a': 1}", "[2]", "None"], "application/x-ndjson", b'{"a":1}\n[2]\nnull\n'),
        (["{'a': 1}", "{'statusCode': 404}"], "application/x-ndjson", b'{"a":1}\n{"statusCode":404}\n'),
        (["{'statusCode': 201, 'headers': {'Content-Type': 'text/csv'}}", "'a,b'"], "text/csv", b"a,b"),
        (["{'statusCode': 201}", "b'x'"], "application/octet-stream", b"x"),
        (["{'statusCode': 201, 'body': 'x'}", "b'y'"], "text/plain; charset=utf-8", b"xy"),
        (["{'statusCode': 201}"], "text/plain; charset=utf-8", b""),
    ],
)
async def test_what_is_yielded_decides_the_answer(world: World, yielded: list[str], kind: str, body: bytes) -> None:
    instance = await world.serve("def handler(event):\n" + "".join(f"    yield {value}\n" for value in yielded))
    outcome = await call(instance)
    assert (outcome.header("content-type"), outcome.body) == ([kind], body)
    assert outcome.status == (201 if "201" in yielded[0] else 200)


async def test_a_generator_that_yields_nothing_is_an_empty_answer(world: World, form: str) -> None:
    outcome = await call(await world.serve(form + "    return\n    yield\n"))
    assert (outcome.status, outcome.body) == (200, b"")


async def test_a_head_with_its_type_does_not_wait_for_a_piece(world: World) -> None:
    instance = await world.serve(
        """
        import time
        def handler(event):
            yield {"statusCode": 200, "headers": {"Content-Type": "text/event-stream"}, "cookies": ["a=1", "b=2"]}
            time.sleep(30)
        """
    )
    sink = begin(instance, timeout=1.0)
    await sink.until(lambda sink: sink.begun is not None)
    names = [name for name, _ in json.loads(sink.begun or b"")["headers"]]
    assert names == ["Content-Type", "Set-Cookie", "Set-Cookie"]
    await sink.ended


async def test_an_error_before_the_first_piece_is_one_of_the_handler(world: World, form: str) -> None:
    outcome = await call(await world.serve(form + "    raise KeyError('plan')\n    yield\n"))
    assert outcome.code is FailureCode.FUNCTION_FAILED
    assert "KeyError: 'plan'" in outcome.text
    assert "KeyError: 'plan'" in outcome.log


async def test_an_error_in_the_middle_ends_the_stream(world: World, form: str) -> None:
    instance = await world.serve(form + "    print('heard')\n    yield 'one'\n    raise KeyError('plan')\n")
    outcome = await call(instance)
    assert (outcome.code, outcome.pieces) == (FailureCode.FUNCTION_FAILED, (b"one",))
    assert "heard" in outcome.log
    assert "KeyError: 'plan'" in outcome.log
    assert (await call(instance)).code is FailureCode.FUNCTION_FAILED


@pytest.mark.parametrize("value", ["object()", "float('nan')", "'\\ud800'", "{1: 2, 'statusCode': 99}"])
async def test_what_cannot_be_sent_is_a_bad_response(world: World, value: str) -> None:
    outcome = await call(await world.serve(f"def handler(event):\n    yield {value}\n"))
    assert outcome.code is FailureCode.BAD_RESPONSE


async def test_a_slow_reader_holds_the_function(world: World, form: str) -> None:
    source = form + "    for number in range(64):\n        print(number)\n        yield bytes(65536)\n"
    instance = await world.serve(source)
    sink = begin(instance, reads=False)
    await sink.until(lambda sink: sum(map(len, sink.pieces)) >= WINDOW)
    await asyncio.sleep(0.3)
    assert sum(map(len, sink.pieces)) <= WINDOW + 65536
    instance.credit(sink.number, 65536)
    seen = len(sink.pieces)
    await sink.until(lambda sink: len(sink.pieces) > seen)
    for _ in range(64):
        instance.credit(sink.number, 65536)
    outcome = await sink.ended
    assert len(outcome.body) == 64 * 65536
    assert (await call(instance)).code is None


async def test_a_large_piece_is_cut_to_the_window(world: World, form: str) -> None:
    instance = await world.serve(form + "    yield b'x' * 8_000_000\n")
    sink = begin(instance, reads=False)
    await sink.until(lambda sink: sum(map(len, sink.pieces)) >= WINDOW)
    await asyncio.sleep(0.2)
    assert sum(map(len, sink.pieces)) <= WINDOW + 65536
    instance.credit(sink.number, 8_000_000)
    assert len((await sink.ended).body) == 8_000_000


CLOSING = """    if event["query"]:
        yield str(closed)
        return
    try:
        while True:
            yield 'x'
            WAIT
    finally:
        closed.append(1)
        print("closing")
"""


async def test_a_client_that_leaves_closes_the_generator_and_the_instance_goes_on(world: World, form: str) -> None:
    instance = await world.serve(form + CLOSING.replace("WAIT", "time.sleep(0.01)"))
    sink = begin(instance)
    await sink.until(lambda sink: len(sink.pieces) > 2)
    instance.cancel(sink.number)
    async with asyncio.timeout(4):
        outcome = await sink.ended
    assert instance.alive
    assert instance.busy == 0
    assert outcome.log == "closing\n"
    assert (await call(instance, request(query="closed=1"))).body == b"[1]"


async def test_a_client_that_leaves_while_it_holds_the_function_closes_the_generator(world: World, form: str) -> None:
    source = form + CLOSING.replace("'x'", "bytes(65536)").replace("WAIT", "pass")
    instance = await world.serve(source)
    sink = begin(instance, reads=False)
    await sink.until(lambda sink: sum(map(len, sink.pieces)) >= WINDOW)
    instance.cancel(sink.number)
    async with asyncio.timeout(4):
        while instance.busy:
            await asyncio.sleep(0.01)
    assert (await call(instance, request(query="closed=1"))).body == b"[1]"


async def test_a_stream_that_does_not_end_for_its_client_ends_with_its_instance(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clowdy.runtimes.instance.GRACE_SECONDS", 0.2)
    instance = await world.serve("import time\ndef handler(event):\n    yield 'x'\n    time.sleep(60)\n")
    sink = begin(instance)
    await sink.until(lambda sink: bool(sink.pieces))
    instance.cancel(sink.number)
    async with asyncio.timeout(4):
        while instance.alive:
            await asyncio.sleep(0.01)


async def test_a_stream_that_never_ends_is_ended_at_its_time(world: World, form: str) -> None:
    instance = await world.serve(form + "    while True:\n        yield 'x' * 1000\n")
    outcome = await call(instance, timeout=0.5)
    assert outcome.code is FailureCode.TIMEOUT
    assert outcome.pieces
    assert not instance.alive


async def test_a_direct_call_gets_a_stream_in_pieces_too(world: World) -> None:
    assert (await ask(await world.serve("def handler(event):\n    yield event\n"), {"a": 1})).body == b'{"a":1}\n'


async def test_a_generator_takes_event_and_context(world: World) -> None:
    instance = await world.serve("def handler(event, context):\n    yield context.request_id\n")
    assert (await call(instance)).body == b"00112233aabb"


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        ("def handler(event): yield 1", Shape.GENERATOR),
        ("async def handler(event): yield 1", Shape.ASYNC_GENERATOR),
    ],
)
async def test_generators_are_known_at_the_start(world: World, source: str, shape: Shape) -> None:
    _, ready = await world.take(application(source))
    assert ready.shape is shape


async def test_streams_of_one_instance_do_not_wait_for_each_other(world: World) -> None:
    instance = await world.serve(
        """
        import asyncio
        async def handler(event):
            for number in range(8):
                print(event["query"]["name"])
                yield bytes(65536)
        """
    )
    held = begin(instance, request(query="name=held"), reads=False)
    await held.until(lambda sink: sum(map(len, sink.pieces)) >= WINDOW)
    outcome = await call(instance, request(query="name=free"))
    assert outcome.log == "free\n" * 8
    assert not held.ended.done()
    instance.credit(held.number, 8 * 65536)
    assert (await held.ended).log == "held\n" * 8
