"""What a call prints is in its log, all of it as far as the limit goes, and in no answer."""

from __future__ import annotations

import asyncio

import pytest

from clowdy.runtimes.inside.frames import LOG_LIMIT, LOG_MARK
from tests.contracts.world import World, ask, begin, direct


@pytest.mark.parametrize("prefix", ["", "async "])
@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("print('grüß', 1)", "grüß 1\n"),
        ("print('to err', file=__import__('sys').stderr)", "to err\n"),
        ("import sys; sys.stdout.write('no newline')", "no newline"),
        ("import sys; sys.stdout.buffer.write(b'bytes\\n')", "bytes\n"),
        ("import sys; sys.stdout.writelines(['a\\n', 'b\\n'])", "a\nb\n"),
        ("import sys; sys.__stdout__.write('original\\n'); sys.stdout.flush()", "original\n"),
        ("print('\\ud800')", "\\ud800\n"),
        ("import logging; logging.warning('careful')", "WARNING:root:careful\n"),
        ("import logging; logging.getLogger('x').error('bad')", "bad\n"),
        ("import warnings; warnings.warn('soon')", "UserWarning: soon"),
        ("import os; os.write(1, b'raw out\\n'); os.write(2, b'raw err\\n')", "raw out\nraw err\n"),
        ("import os; os.write(1, b'\\xff')", "\ufffd"),
        ("import os; os.write(1, b'\\xc3'); os.write(1, b'\\xbc')", "ü"),
        ("import os; os.write(1, b'\\xc3')", "\ufffd"),
        ("import os; os.system('echo from a shell')", "from a shell\n"),
        ("import subprocess; subprocess.run(['/bin/sh', '-c', 'echo child >&2'])", "child\n"),
        ("import sys, subprocess; subprocess.run(['/bin/echo', 'to file'], stdout=sys.stdout)", "to file\n"),
        ("import threading; t = threading.Thread(target=print, args=('t',)); t.start(); t.join()", "t\n"),
        ("import sys; sys.stdout.reconfigure(line_buffering=True); print(sys.stdout.isatty())", "False\n"),
    ],
)
async def test_everything_printed_is_in_the_log_of_its_call(world: World, prefix: str, line: str, printed: str) -> None:
    instance = await world.serve(f"{prefix}def handler(event):\n    {line}\n    return 'answer'")
    for _ in range(3):
        sink = begin(instance, direct(), b"null")
        outcome = await sink.ended
        assert outcome.json == "answer"
        text = sink.printed.decode()
        if "UserWarning" not in printed:
            assert text == printed
        elif _ == 0:
            assert printed in text


async def test_a_log_is_streamed_while_its_call_runs(world: World) -> None:
    source = """
        import time
        def handler(event):
            print("first")
            print("second")
            time.sleep(30)
        """
    instance = await world.serve(source)
    sink = begin(instance, direct(), b"null", timeout=20)
    async with asyncio.timeout(5):
        while bytes(sink.printed) != b"first\nsecond\n":
            sink.heard.clear()
            await sink.heard.wait()
    assert not sink.ended.done()
    await instance.kill()


@pytest.mark.parametrize(
    "source",
    [
        "def handler(event):\n    for _ in range(20000): print('x' * 99)\n    return 1",
        "def handler(event):\n    print('x' * 3_000_000)\n    return 1",
        "import os\ndef handler(event):\n    for _ in range(100): os.write(1, b'x' * 30_000)\n    return 1",
        "import os\ndef handler(event):\n    os.system('head -c 30000000 /dev/zero | tr \"\\\\0\" x')\n    return 1",
        "async def handler(event):\n    for _ in range(20000): print('x' * 99)\n    return 1",
    ],
)
async def test_a_flood_is_cut_and_holds_nobody_up(world: World, source: str) -> None:
    instance = await world.serve(source)
    for _ in range(2):
        outcome = await ask(instance, timeout=15)
        assert outcome.json == 1
        assert len(outcome.log) == LOG_LIMIT + len(LOG_MARK)
        assert outcome.log.endswith(LOG_MARK.decode())


async def test_the_limit_is_each_calls_own(world: World) -> None:
    instance = await world.serve("def handler(event):\n    print('x' * event)\n    return 1")
    assert (await ask(instance, LOG_LIMIT)).log.endswith(LOG_MARK.decode())
    assert (await ask(instance, 3)).log == "xxx\n"


async def test_what_children_print_after_a_call_is_in_no_other_log(world: World) -> None:
    source = """
        import subprocess, time
        def handler(event):
            if event == "start":
                subprocess.Popen(["/bin/sh", "-c", "sleep 0.1; echo late"])
            return event
        """
    instance = await world.serve(source)
    assert (await ask(instance, "start")).log == ""
    await asyncio.sleep(0.3)
    assert (await ask(instance, "next")).log == ""


async def test_what_was_printed_before_time_was_up_is_kept(world: World) -> None:
    instance = await world.serve(
        "import os\ndef handler(event):\n    print('python'); os.write(1, b'raw\\n')\n    while True: pass"
    )
    outcome = await ask(instance, timeout=0.5)
    assert sorted(outcome.log.splitlines()) == ["python", "raw"]
