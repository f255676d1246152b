"""Functions that fail, misbehave or attack: each gets its code, and the next instance is none the worse."""

from __future__ import annotations

import asyncio

import pytest

from clowdy.runtimes.api import Call, Exit, FailureCode
from tests.contracts.world import Sink, World, ask, begin, call, direct, request, told


@pytest.mark.parametrize("prefix", ["", "async "])
async def test_an_exception_is_told_with_its_traceback_and_the_instance_lives(world: World, prefix: str) -> None:
    instance = await world.serve(f"{prefix}def handler(event):\n    print('here')\n    return 1 / event")
    outcome = await ask(instance, 0)
    assert outcome.code is FailureCode.FUNCTION_FAILED
    assert outcome.text.startswith("Function error: Traceback (most recent call last):\n")
    assert outcome.text.endswith("ZeroDivisionError: division by zero")
    assert 'functions/hello.py", line 3, in handler' in outcome.text
    assert "_clowdy" not in outcome.text
    assert outcome.log == f"here\n{outcome.text}\n"
    assert (await ask(instance, 4)).json == 0.25


@pytest.mark.parametrize(
    "error",
    [
        "KeyboardInterrupt",
        "GeneratorExit",
        "StopIteration(1)",
        "BaseException('x')",
        "RecursionError",
        "type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()",
        "ExceptionGroup('many', [ValueError(1)])",
        "UnicodeDecodeError('utf-8', b'x', 0, 1, 'y')",
        "Exception('\\ud800')",
    ],
)
async def test_exceptions_of_every_kind_fail_the_call_alone(world: World, error: str) -> None:
    instance = await world.serve(f"def handler(event):\n    if event: raise {error}\n    return 'fine'")
    assert (await ask(instance, 1)).code is FailureCode.FUNCTION_FAILED
    assert (await ask(instance, 0)).json == "fine"


@pytest.mark.parametrize("prefix", ["", "async "])
@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import os; os._exit(3)", "exit status 3"),
        ("import os; os._exit(0)", "exit status 0"),
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os; os.abort()", "SIGABRT"),
        ("import os; os.execv('/bin/true', ['true'])", "exit status 0"),
        ("import signal, time; signal.alarm(1); time.sleep(5)", "SIGALRM"),
    ],
)
async def test_a_process_that_ends_is_a_crash(world: World, prefix: str, line: str, text: str) -> None:
    instance = await world.serve(f"{prefix}def handler(event):\n    print('last words')\n    {line}")
    exits: list[Exit] = []
    gone = asyncio.Event()
    instance.on_exit = lambda _, how: (exits.append(how), gone.set())[0]
    outcome = await ask(instance)
    assert outcome.code is FailureCode.CRASHED
    assert text in outcome.text
    assert "last words\n" in outcome.log
    assert not instance.alive
    await asyncio.wait_for(gone.wait(), 5)
    assert [how.code for how in exits] == [FailureCode.CRASHED]


@pytest.mark.parametrize(
    "source",
    [
        "def handler(event):\n    while True: pass",
        "import time\ndef handler(event): time.sleep(60)",
        "import asyncio\nasync def handler(event): await asyncio.sleep(60)",
        "async def handler(event):\n    while True: pass",
        "import time\ndef handler(event):\n    while True:\n"
        "        try: time.sleep(60)\n        except BaseException: pass",
        "import signal, time\nfor n in range(1, 65):\n"
        "    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "def handler(event): time.sleep(60)",
        "import threading\nlock = threading.Lock()\nlock.acquire()\ndef handler(event): lock.acquire()",
        "import re\ndef handler(event): re.match(r'(a+)+$', 'a' * 40 + 'b')",
        "import os\ndef handler(event):\n    os.close(1); os.close(2)\n    while True: pass",
    ],
)
async def test_time_that_is_up_kills(world: World, source: str) -> None:
    instance = await world.serve(source)
    loop = asyncio.get_running_loop()
    began = loop.time()
    outcome = await ask(instance, timeout=0.3)
    assert 0.28 <= loop.time() - began < 2
    assert outcome.code is FailureCode.TIMEOUT
    assert outcome.text == "Function timed out after 0.3 seconds"
    assert not instance.alive
    await instance.kill()


async def test_a_call_beside_one_that_timed_out_goes_on(world: World) -> None:
    instance = await world.serve(
        """
        import asyncio
        async def handler(event):
            await asyncio.sleep(event)
            return event
        """
    )
    slow = begin(instance, direct(), b"60", timeout=0.2)
    other = begin(instance, direct(), b"0.6", timeout=20)
    assert (await slow.ended).code is FailureCode.TIMEOUT
    assert instance.alive
    assert (await other.ended).json == 0.6
    assert instance.busy == 0


async def test_a_call_that_does_not_end_at_its_time_takes_those_beside_it_along(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clowdy.runtimes.connection.GRACE_SECONDS", 0.2)
    instance = await world.serve("import time\nasync def handler(event): time.sleep(60)")
    slow, other = begin(instance, timeout=0.2), begin(instance, timeout=20)
    assert (await slow.ended).code is FailureCode.TIMEOUT
    assert (await other.ended).code is FailureCode.CRASHED


async def test_a_memory_error_that_escapes_is_out_of_memory(world: World) -> None:
    instance = await world.serve("def handler(event): raise MemoryError")
    outcome = await ask(instance)
    assert outcome.code is FailureCode.OUT_OF_MEMORY
    assert not instance.alive


@pytest.mark.parametrize(
    "source",
    [
        "import os\ndef handler(event): os.closerange(0, 65536)",
        "import os\ndef handler(event):\n    os.closerange(3, 65536)\n    while True: pass",
        "import os\ndef handler(event):\n    os.closerange(0, 65536)\n    return 1",
    ],
)
async def test_closed_descriptors_are_a_crash(world: World, source: str) -> None:
    assert (await world.outcome(source, timeout=3)).code is FailureCode.CRASHED


FIND_CHANNEL = """
import os, stat, struct
def channels():
    for number in range(3, 1024):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                yield number
        except OSError:
            pass
def frame(kind, call, head=b"", body=b""):
    return struct.pack(">BBHIII", 0xC1, kind, 0, call, len(head), len(body)) + head + body
def write(data):
    for number in channels():
        os.write(number, data)
"""


@pytest.mark.parametrize(
    "line",
    [
        "write(b'garbage' * 10)",
        "write(b'\\xc1')  # half a header, then the true answer",
        "write(frame(5, 1, b'', b'1') + frame(5, 1, b'', b'2'))",
        "write(frame(5, 2, b'', b'1'))",
        "write(frame(99, 1))",
        "write(frame(1, 1))",
        "write(frame(7, 1, b'', b'piece before head'))",
        "write(frame(8, 1))",
        "write(frame(9, 1, b'{}'))",
        'write(frame(9, 1, b\'{"code": "busy"}\'))',
        "write(frame(2, 0, b'{}'))  # ready once more",
        "write(frame(15, 0, b'', b'hello'))",
        "write(struct.pack('>BBHIII', 0xC1, 5, 0, 1, 0, 0xFFFFFFFF))",
        "write(struct.pack('>BBHIII', 0xC1, 5, 0, 1, 0xFFFFFFFF, 0))",
        "[write(frame(10, 1, b'', b'x' * 65536)) for _ in range(5)]  # more log than allowed",
    ],
)
async def test_a_forged_channel_ends_the_instance(world: World, line: str) -> None:
    source = f"{FIND_CHANNEL}\ndef handler(event):\n    {line}\n    import time; time.sleep(0.05)\n    return 'true'"
    instance = await world.serve(source)
    outcome = await ask(instance, timeout=3)
    assert outcome.code is FailureCode.CRASHED or outcome.body == b"1"
    await asyncio.sleep(0.15)
    assert not instance.alive
    assert (await world.outcome("def handler(event): return 'healthy'")).json == "healthy"


async def test_an_answer_for_a_call_to_come_is_not_believed(world: World) -> None:
    source = f"{FIND_CHANNEL}\ndef handler(event):\n    write(frame(5, 2, b'', b'\"forged\"'))\n    return 'first'"
    instance = await world.serve(source)
    await ask(instance)
    await asyncio.sleep(0.05)
    outcome = await ask(instance)
    assert outcome.code is FailureCode.CRASHED


async def test_a_forked_child_cannot_answer_for_its_parent(world: World) -> None:
    source = """
        import os, time
        def handler(event):
            pid = os.fork()
            if pid == 0:
                print("from the child")
                return "child"
            os.waitpid(pid, 0)
            return "parent"
        """
    instance = await world.serve(source)
    outcome = await ask(instance)
    assert outcome.json == "parent"
    assert outcome.log == "from the child\n"
    assert (await ask(instance)).json == "parent"


async def test_threads_left_behind_disturb_no_later_call(world: World) -> None:
    source = """
        import threading, time
        def work():
            while True:
                print("from behind")
                time.sleep(0.001)
        def handler(event):
            if event == "leave":
                threading.Thread(target=work).start()
                threading.Thread(target=work, daemon=True).start()
            return event
        """
    instance = await world.serve(source)
    assert (await ask(instance, "leave")).json == "leave"
    for number in range(20):
        assert (await ask(instance, number)).json == number
        await asyncio.sleep(0.002)
    assert instance.alive
    await instance.kill()


async def test_what_a_function_does_to_python_harms_itself_alone(world: World) -> None:
    source = """
        import sys, os, json, builtins
        def handler(event):
            json.dumps = os.write = builtins.print = None
            sys.stdout = sys.stderr = None
            return "still here"
        """
    assert (await world.outcome(source, timeout=2)).code in (None, FailureCode.CRASHED, FailureCode.TIMEOUT)
    assert (await world.outcome("def handler(event): return 1")).json == 1


async def test_a_call_of_a_dead_instance_fails_after_its_id_is_known(world: World) -> None:
    instance = await world.serve("def handler(event): return 1")
    await instance.kill()
    outcome = await call(instance, request())
    assert outcome.code is FailureCode.CRASHED


async def test_calls_of_an_instance_that_is_killed_fail(world: World) -> None:
    instance = await world.serve("import time\ndef handler(event): time.sleep(60)")
    sink = begin(instance)
    await asyncio.sleep(0.05)
    assert instance.busy == 1
    await instance.kill()
    assert (await sink.ended).code is FailureCode.CRASHED
    assert instance.busy == 0


async def test_cancelling_a_plain_call_ends_its_instance(world: World) -> None:
    instance = await world.serve("import time\ndef handler(event):\n    print('working')\n    time.sleep(60)")
    sink = Sink()
    number = instance.call(Call(request(), b"", 20, sink))
    await sink.until(lambda sink: b"working" in sink.printed)
    instance.cancel(number)
    assert not instance.alive
    assert (await sink.ended).code is FailureCode.CRASHED


async def test_a_cancelled_call_counts_until_it_ends(world: World) -> None:
    source = """
        import asyncio
        async def handler(event):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(0.2)
                print("ended")
        """
    instance = await world.serve(source)
    sink = Sink()
    number = instance.call(Call(request(), b"", 20, sink))
    await asyncio.sleep(0.05)
    instance.cancel(number)
    assert instance.busy == 1
    async with asyncio.timeout(5):
        assert (await sink.ended).log == "ended\n"
    assert instance.busy == 0
    assert instance.alive


@pytest.mark.parametrize("error", ["MemoryError", "SystemExit"])
async def test_an_instance_that_ends_with_a_call_is_not_alive_when_that_is_told(world: World, error: str) -> None:
    instance = await world.serve(f"def handler(event):\n    raise {error}")
    alive: list[bool] = []

    class Watching(Sink):
        def failed(self, code: FailureCode, text: str) -> None:
            alive.append(instance.alive)
            super().failed(code, text)

    sink = Watching()
    instance.call(Call(request(), b"", 20, sink))
    await sink.ended
    assert alive == [False]


async def test_cancelling_a_call_that_ended_does_nothing(world: World) -> None:
    instance = await world.serve("def handler(event): return 1")
    sink = Sink()
    number = instance.call(Call(request(), b"", 20, sink))
    await sink.ended
    instance.cancel(number)
    assert instance.alive
    assert (await ask(instance)).json == 1


async def test_cancelling_an_async_call_leaves_the_others_alone(world: World) -> None:
    source = """
        import asyncio
        cancelled = []
        async def handler(event):
            if event["path"] == "/count":
                return cancelled
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(1)
                raise
        """
    instance = await world.serve(source)
    sink = Sink()
    number = instance.call(Call(request(), b"", 20, sink))
    await asyncio.sleep(0.05)
    instance.cancel(number)
    instance.cancel(number)
    assert (await call(instance, request(path="/count"))).json == [1]
    assert instance.alive
    # The author made no mistake: there is nothing to be said of it.
    assert (await sink.ended).log == ""
    assert instance.busy == 0


ASYNC = {
    "async handler": """
        import asyncio, time
        async def handler(event):
            print("begun")
            await asyncio.sleep(30)
        """,
    "ASGI": """
        import asyncio, time
        async def handler(scope, receive, send):
            if scope["type"] == "http":
                print("begun", (await receive())["type"], (await receive())["type"])
        """,
}


@pytest.mark.parametrize("kind", ASYNC)
async def test_a_call_whose_client_leaves_before_it_began_ends(world: World, kind: str) -> None:
    instance = await world.serve(ASYNC[kind])
    # Both frames are read in one turn of the runner's loop, or not: many times, so that both happen.
    sinks = []
    for _ in range(50):
        sinks.append(begin(instance, told()))
        instance.cancel(sinks[-1].number)
    async with asyncio.timeout(3):
        for sink in sinks:
            outcome = await sink.ended
            assert outcome.log in ("", "begun\n") if kind != "ASGI" else outcome.log.startswith("begun")
    assert instance.busy == 0
    assert instance.alive


async def test_a_client_that_leaves_while_the_loop_is_held_up_is_no_harm_to_others(world: World) -> None:
    source = """
        import asyncio, time
        async def handler(event):
            if event["query"].get("holds"):
                time.sleep(0.6)
            await asyncio.sleep(float(event["query"].get("waits", 0)))
        """
    instance = await world.serve(source)
    holding = begin(instance, request(query="holds=1&waits=0.2"), timeout=1.5)
    await asyncio.sleep(0.2)
    left = begin(instance, request(query="waits=30"), timeout=1.5)
    instance.cancel(left.number)
    healthy = begin(instance, request(query="waits=3"), timeout=20)
    assert (await holding.ended).code is None
    await left.ended
    assert (await healthy.ended).code is None
    assert instance.alive


@pytest.mark.parametrize("raised", ["ValueError('at the end')", "CancelledError"])
async def test_what_a_call_raises_after_its_client_left_is_in_its_log(world: World, raised: str) -> None:
    source = f"""
        import asyncio
        from asyncio import CancelledError
        async def handler(event):
            print("begun")
            try:
                await asyncio.sleep(60)
            finally:
                raise {raised}
        """
    instance = await world.serve(source)
    sink = begin(instance)
    await sink.until(lambda sink: bool(sink.printed))
    instance.cancel(sink.number)
    log = (await sink.ended).log
    assert ("ValueError: at the end" in log) == (raised != "CancelledError")


async def test_a_cancelled_call_that_does_not_end_ends_its_instance(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clowdy.runtimes.instance.GRACE_SECONDS", 0.3)
    source = """
        import asyncio
        async def handler(event):
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    print("no")
        """
    instance = await world.serve(source)
    sink = begin(instance, timeout=30)
    await asyncio.sleep(0.1)
    instance.cancel(sink.number)
    async with asyncio.timeout(3):
        assert (await sink.ended).log == "no\n"
    assert not instance.alive
