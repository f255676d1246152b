"""From a started instance to a function that is ready, or to why it is not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from textwrap import dedent

import pytest

from clowdy.runtimes.api import DriverUnavailable, Exit, Handler, Instance, Kind, Ready, Shape, StartFailed, StartReason
from clowdy.schema.manifest import HandlerType, Network
from tests.contracts.world import FILE, PLAIN, TextCode, World, application, ask


async def test_an_import_is_timed_and_what_it_printed_is_kept(world: World) -> None:
    instance, ready = await world.take(application("print('loading')\ndef handler(event): return 1"))
    assert ready.shape is Shape.HANDLER
    assert ready.log == "loading\n"
    assert 0 < ready.import_ms < 5000
    assert instance.alive
    assert (await ask(instance)).log == ""


async def test_every_file_of_the_source_can_be_imported_and_read(world: World) -> None:
    instance = await world.serve(
        {
            "api/__init__.py": "",
            "api/users.py": "from . import names\nfrom lib.deep import text\n"
            "def get(event): return [names.WHO, text()]",
            "api/names.py": "WHO = 'ana'",
            "lib/deep.py": "import os\ndef text(): return open('data/greeting.txt').read()",
            "data/greeting.txt": "hello",
        },
        handler=Handler("api/users.py", "get"),
    )
    assert (await ask(instance)).json == ["ana", "hello"]


async def test_a_handler_is_imported_by_its_path(world: World) -> None:
    instance = await world.serve(
        {"api/users.py": "def get(event): return __name__"}, handler=Handler("api/users.py", "get")
    )
    assert (await ask(instance)).json == "api.users"


@pytest.mark.parametrize("file", ["functions/my-fn.py", "functions/2nd.py", "v1.2/app.py", "json.py", "a b.py"])
async def test_file_names_that_python_would_not_write_as_imports_work(world: World, file: str) -> None:
    instance = await world.serve(
        {file: "VALUE = 'mine'\ndef handler(e): return VALUE"}, handler=Handler(file, "handler")
    )
    assert (await ask(instance)).json == "mine"


async def test_the_import_path_begins_with_the_first_source_and_the_whole(world: World) -> None:
    instance = await world.serve(
        {
            "api/main.py": "import sys, os, near\nfrom shared import far\n"
            "def handler(e): return [near.X, far.Y, sys.path[:2], os.getcwd()]",
            "api/near.py": "X = 1",
            "shared/far.py": "Y = 2",
        },
        handler=Handler("main.py", "handler"),
        sources=("api", "shared"),
    )
    near, far, path, here = (await ask(instance)).json
    assert (near, far) == (1, 2)
    assert path == [f"{here}/api", here]


async def test_the_environment_is_what_was_given_and_nothing_else(world: World) -> None:
    instance = await world.serve(
        "import os\ndef handler(e): return dict(os.environ)", env={"STAGE": "prod", "GREETING": "grüß dich"}
    )
    assert (await ask(instance)).json == {
        "STAGE": "prod",
        "GREETING": "grüß dich",
        "HOME": "/tmp",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
    }


async def test_home_language_and_time_zone_may_be_the_functions_own(world: World) -> None:
    source = (
        "import os, time\ndef handler(e): return [os.environ[n] for n in ('HOME', 'LANG', 'TZ')] + list(time.tzname)"
    )
    env = {"HOME": "/app", "LANG": "de_DE.UTF-8", "TZ": "XYZ-3"}
    assert (await world.outcome(source, env=env)).json == ["/app", "de_DE.UTF-8", "XYZ-3", "XYZ", "XYZ"]


async def test_the_environment_reaches_programs_that_a_function_starts(world: World) -> None:
    source = "import subprocess\ndef handler(e): return subprocess.check_output(['/usr/bin/env'], text=True).split()"
    assert "A=1" in (await world.outcome(source, env={"A": "1"})).json


async def test_the_runner_leaves_no_module_of_its_own_in_the_way(world: World) -> None:
    instance = await world.serve(
        {
            FILE: "import answer, event, traceback\ndef handler(e): return [answer.X, event.X, traceback.X, 1 / 0]",
            "answer.py": "X = 1",
            "event.py": "X = 2",
            "traceback.py": "X = 3",
        }
    )
    outcome = await ask(instance)
    assert "ZeroDivisionError" in outcome.text


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        ("def handler(event): ...", Shape.HANDLER),
        ("def handler(event, context): ...", Shape.HANDLER),
        ("handler = lambda event: 1", Shape.HANDLER),
        ("class C:\n    def __call__(self, event): ...\nhandler = C()", Shape.HANDLER),
        ("import functools\nhandler = functools.partial(lambda a, event: 1, 1)", Shape.HANDLER),
        ("async def handler(event): ...", Shape.ASYNC_HANDLER),
        ("class C:\n    async def __call__(self, event): ...\nhandler = C()", Shape.ASYNC_HANDLER),
        ("def handler(event): yield 1", Shape.GENERATOR),
        ("def handler(environ, start_response): yield b''", Shape.WSGI),
        ("async def handler(event): yield 1", Shape.ASYNC_GENERATOR),
        ("async def handler(scope, receive, send): ...", Shape.ASGI),
        ("class A:\n    async def __call__(self, scope, receive, send): ...\nhandler = A()", Shape.ASGI),
        ("def handler(environ, start_response): ...", Shape.WSGI),
        ("class F:\n    def wsgi_app(self): ...\n    def __call__(self, e, s): ...\nhandler = F()", Shape.WSGI),
    ],
)
async def test_a_handler_is_recognised_by_its_shape(world: World, source: str, shape: Shape) -> None:
    _, ready = await world.take(application(source))
    assert ready.shape is shape


async def test_the_type_decides_where_it_is_given(world: World) -> None:
    source = "def handler(environ, start_response): return 'plain'"
    instance, ready = await world.take(application(source, kind=HandlerType.HANDLER))
    assert ready.shape is Shape.HANDLER
    assert (await ask(instance)).json == "plain"
    _, ready = await world.take(application("def handler(*parts): ...", kind=HandlerType.ASGI))
    assert ready.shape is Shape.ASGI
    _, ready = await world.take(application("def handler(*parts): ...", kind=HandlerType.WSGI))
    assert ready.shape is Shape.WSGI


@pytest.mark.parametrize(
    ("source", "reason", "text"),
    [
        ("import nowhere", StartReason.MISSING_MODULE, "No module named 'nowhere'"),
        ("1 / 0", StartReason.EXCEPTION, "ZeroDivisionError"),
        ("def handler(:", StartReason.EXCEPTION, "SyntaxError"),
        ("raise SystemExit(3)", StartReason.EXCEPTION, "SystemExit"),
        ("raise MemoryError", StartReason.OUT_OF_MEMORY, "out of memory"),
        ("other = 1", StartReason.MISSING_ATTRIBUTE, "Function must define a handler(input) function"),
        ("handler = 3", StartReason.NOT_CALLABLE, "Function must define a handler(input) function"),
        ("def handler():\n    return 1", StartReason.NOT_CALLABLE, "this one takes no argument"),
        ("def handler(a, b, c):\n    return 1", StartReason.NOT_CALLABLE, "this one takes 3 arguments"),
        ("import os; os._exit(9)", StartReason.CRASHED, "exit status 9"),
        ("import os; os.kill(os.getpid(), 11)", StartReason.CRASHED, "SIGSEGV"),
        ("import os; os.closerange(3, 1024)", StartReason.CRASHED, ""),
        ("while True: pass", StartReason.TIMEOUT, "within 0.5 seconds"),
    ],
)
async def test_a_start_that_fails_says_why(world: World, source: str, reason: StartReason, text: str) -> None:
    instance = await world.driver.start(PLAIN)
    with pytest.raises(StartFailed) as failed:
        await instance.take(application(f"print('before')\n{source}" if "(:" not in source else source), 0.5)
    assert failed.value.reason is reason
    assert text in failed.value.text
    assert not instance.alive
    if "(:" not in source:
        assert "before\n" in failed.value.log


async def test_a_missing_module_is_named(world: World) -> None:
    instance = await world.driver.start(PLAIN)
    with pytest.raises(StartFailed) as failed:
        await instance.take(application("import lib.db"), 5)
    assert failed.value.module == "lib"
    assert failed.value.text.startswith("Failed to load function: Traceback")
    assert "_clowdy" not in failed.value.text
    assert "importlib" not in failed.value.text


async def test_an_instance_is_taken_once(world: World) -> None:
    instance = await world.serve("def handler(e): return 1")
    with pytest.raises(RuntimeError):
        await instance.take(application("def handler(e): return 2"), 5)
    assert (await ask(instance)).json == 1


async def test_an_unused_instance_can_be_killed_twice(world: World) -> None:
    instance = await world.driver.start(PLAIN)
    exits: list[Exit] = []
    instance.on_exit = lambda _, how: exits.append(how)
    await asyncio.gather(instance.kill(), instance.kill())
    await instance.kill()
    assert not instance.alive
    assert [how.code for how in exits] == [None]


async def test_a_take_that_is_cancelled_leaves_nothing(world: World) -> None:
    instance = await world.driver.start(PLAIN)
    task = asyncio.create_task(instance.take(application("import time\ntime.sleep(60)"), 30))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not instance.alive


async def test_a_probe_has_one_result_for_each_handler(world: World) -> None:
    files: dict[str, str | bytes] = {
        "a.py": "print('a')\ndef one(e): ...\nasync def two(e): ...",
        "b.py": "print('b')\nimport nowhere",
    }
    handlers = [Handler("a.py", "one"), Handler("a.py", "two"), Handler("b.py", "x"), Handler("a.py", "gone")]
    instance = await world.driver.start(PLAIN)
    results: list[Ready | StartFailed] = []
    await instance.probe(application(files), handlers, 5, results.append)
    one, two, missing, gone = results
    assert isinstance(one, Ready)
    assert (one.shape, one.log) == (Shape.HANDLER, "a\n")
    assert isinstance(two, Ready)
    assert (two.shape, two.log) == (Shape.ASYNC_HANDLER, "")
    assert isinstance(missing, StartFailed)
    assert (missing.reason, missing.module, missing.log) == (StartReason.MISSING_MODULE, "nowhere", "b\n")
    assert isinstance(gone, StartFailed)
    assert gone.reason is StartReason.MISSING_ATTRIBUTE
    assert not instance.alive


@pytest.mark.parametrize(
    ("source", "reason"), [("import os; os._exit(1)", StartReason.CRASHED), ("while 1: pass", StartReason.TIMEOUT)]
)
async def test_what_ends_a_probe_is_its_last_result(world: World, source: str, reason: StartReason) -> None:
    files: dict[str, str | bytes] = {"a.py": "def one(e): ...", "b.py": source}
    instance = await world.driver.start(PLAIN)
    results: list[Ready | StartFailed] = []
    handlers = [Handler("a.py", "one"), Handler("b.py", "x"), Handler("a.py", "one")]
    await instance.probe(application(files), handlers, 0.5, results.append)
    assert isinstance(results[0], Ready)
    assert [result.reason for result in results[1:] if isinstance(result, StartFailed)] == [reason]
    assert not instance.alive


async def test_kinds_that_are_not_built_yet_are_refused(world: World) -> None:
    with pytest.raises(DriverUnavailable, match="not available in this version"):
        await world.driver.start(Kind(None, Network.DATABASE))


async def test_code_is_there_with_its_modes(world: World) -> None:
    source = """
        import os, stat
        def handler(e):
            return [stat.S_IMODE(os.stat(p).st_mode) for p in ("functions/hello.py", "run.sh", "functions")]
        """
    files = {FILE: dedent(source), "run.sh": "#!/bin/sh\n"}
    instance = await world.serve(files, executable=("run.sh",))
    assert (await ask(instance)).json == [0o444, 0o555, 0o755]


async def test_code_that_cannot_be_read_fails_the_start(world: World) -> None:
    class Lost(TextCode):
        def read(self, blob: str) -> bytes:
            raise KeyError(blob)

    instance = await world.driver.start(PLAIN)
    with pytest.raises(StartFailed) as failed:
        await instance.take(replace(application(""), code=Lost({FILE: f"x = {id(world)}"})), 5)
    assert failed.value.reason is StartReason.RUNTIME
    assert not instance.alive


async def test_two_instances_share_nothing(world: World) -> None:
    source = "import os\ncount = 0\ndef handler(e):\n    global count\n    count += 1\n    return count"
    first: Instance = await world.serve(source)
    second: Instance = await world.serve(source)
    assert [(await ask(first)).json, (await ask(first)).json, (await ask(second)).json] == [1, 2, 1]
