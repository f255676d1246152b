"""What Python files contain, asked of the real child."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from clowdy.hooks.syntax import FileFacts, FileProblem, PlainFunction, SyntaxChild, SyntaxUnavailable, inspect_now
from clowdy.hooks.syntax_worker import examine
from clowdy.hooks.tree import Entry, Kind

TOO_MUCH = "is too large or too deeply nested to be read"


def entries(files: Mapping[str, bytes]) -> list[Entry]:
    return [Entry(path, Kind.FILE, "", len(content)) for path, content in files.items()]


async def ask(child: SyntaxChild, **files: bytes) -> dict[str, FileFacts | FileProblem]:
    return await child.inspect(entries(files), lambda entry: files[entry.path])


@pytest.fixture
async def child() -> AsyncIterator[SyntaxChild]:
    async with SyntaxChild() as child:
        yield child


BINDINGS = [
    "handler = 1",
    "a, (b, *handler) = x",
    "handler: int = 1",
    "import handler",
    "import handler.inner",
    "import a as handler",
    "from a import handler",
    "from a import b as handler",
    "def handler(): ...",
    "async def handler(): ...",
    "class handler: ...",
    "if a:\n    handler = 1",
    "if a: pass\nelse:\n    def handler(): ...",
    "try:\n    import handler\nexcept ImportError:\n    pass",
    "try: pass\nexcept E: handler = 1\nelse: pass\nfinally: pass",
    "with a as handler: pass",
    "for handler in a: pass",
    "while a:\n    handler = 1",
    "match a:\n    case {'k': handler}: pass",
    "match a:\n    case {**handler}: pass",
    "match a:\n    case [*handler]: pass",
    "match a:\n    case B(c=1) as handler: pass",
    "(handler := 1)",
    "[x for y in z if (handler := y)]",
    "def f():\n    global handler\n    handler = 1",
    "class C:\n    global handler\n    handler = 1",
    "from a import *",
    "def __getattr__(name): ...",
    "globals()['handler'] = 1",
    "exec('handler = 1')",
    "def f(x=(handler := 1)): ...",
]


@pytest.mark.parametrize("source", BINDINGS)
def test_whatever_can_bind_the_name_counts(source: str) -> None:
    answer = examine(source.encode())

    assert answer["dynamic"] or "handler" in answer["names"]


NOT_BINDINGS = [
    "",
    "handler",
    "handler()",
    "handler: int",
    "a.handler = 1",
    "a['handler'] = 1",
    "def f():\n    handler = 1",
    "class C:\n    handler = 1\n    def handler(self): ...",
    "[handler for handler in a]",
    "lambda handler: 1",
    "def f(handler): ...",
    "import a.handler",
    "from handler import a",
    "class C:\n    def __getattr__(self, name): ...",
    "del handler",
    "# handler = 1",
]


@pytest.mark.parametrize("source", NOT_BINDINGS)
def test_what_cannot_bind_the_name_does_not_count(source: str) -> None:
    answer = examine(source.encode())

    assert not answer["dynamic"]
    assert "handler" not in answer["names"]


PLAIN = [
    ("def handler(event): ...", ["event"], False),
    ("def handler(event, /, context=None, *, x=1, **more): ...", ["event", "context"], False),
    ("def handler(a, b, c, d): ...", ["a", "b", "c"], False),
    ("if x:\n    def handler(event): ...", ["event"], False),
    ("def handler(event):\n    yield 1", ["event"], True),
    ("def handler(event):\n    if event:\n        x = [(yield from event)]", ["event"], True),
    ("def handler(event):\n    def inner(x=(yield)): ...", ["event"], True),
    ("def handler(event):\n    def inner():\n        yield 1\n    return inner", ["event"], False),
    ("def handler(event):\n    return lambda: (yield)", ["event"], False),
    ("def handler(event):\n    async def inner(): ...\nclass C:\n    async def handler(self): ...", ["event"], False),
    ("def handler(event):\n    handler = 1\nother = handler", ["event"], False),
]


@pytest.mark.parametrize(("source", "parameters", "generator"), PLAIN)
def test_a_function_that_its_file_shows_whole_is_plain(source: str, parameters: list[str], generator: bool) -> None:
    assert examine(source.encode())["plain"]["handler"] == {"parameters": parameters, "generator": generator}


UNCERTAIN = [
    "async def handler(event): ...",
    "@cached\ndef handler(event): ...",
    "def handler(*args): ...",
    "def handler(event): ...\nhandler = wrap(handler)",
    "def handler(event): ...\nhandler: object = wrap(handler)",
    "def handler(event): ...\nfrom a import handler",
    "def handler(event): ...\nfrom a import *",
    "if a:\n    def handler(event): ...\nelse:\n    async def handler(event): ...",
    "def handler(event): ...\ndef f():\n    global handler\n    handler = f",
    "def handler(event): ...\nglobals()['handler'] = f",
    "def handler(event): ...\nfor handler in f: pass",
    "import sys\ndef handler(event): ...\nsys.modules[__name__] = f",
    "from sys import modules\ndef handler(event): ...\nmodules[__name__].handler = f",
    "class handler: ...",
    "handler = lambda event: 1",
    "def other(event): ...",
]


@pytest.mark.parametrize("source", UNCERTAIN)
def test_what_may_be_something_else_in_the_end_is_not_plain(source: str) -> None:
    assert "handler" not in examine(source.encode())["plain"]


async def test_facts_come_in_the_order_of_the_file(child: SyntaxChild) -> None:
    found = await ask(child, a=b"import os\nX = 1\ndef main(): ...\nclass Helper: ...\n")

    assert found == {
        "a": FileFacts(
            names=("os", "X", "main", "Helper"), defined=("main", "Helper"), plain={"main": PlainFunction(())}
        )
    }
    assert child.version == ".".join(map(str, sys.version_info[:3]))


async def test_what_only_the_compiler_refuses_is_placed_in_characters(child: SyntaxChild) -> None:
    found = await ask(child, a="é = 'ü'; return é\n".encode())

    assert found == {"a": FileProblem(1, 10, "'return' outside function", "é = 'ü'; return é", 8)}


@pytest.mark.parametrize(
    "hostile",
    [b"-" * 100_000 + b"1", b"x" + b".a" * 300_000, b"lambda:" * 50_000, b"x = [" + b"0," * 500_000 + b"]"],
)
async def test_a_file_that_is_too_much_is_a_problem_and_the_next_one_is_judged(
    child: SyntaxChild, hostile: bytes
) -> None:
    found = await ask(child, hostile=hostile, good=b"handler = 1")

    assert found == {"hostile": FileProblem(1, 1, TOO_MUCH), "good": FileFacts(("handler",))}


async def test_a_child_that_was_killed_is_replaced_without_a_word(child: SyntaxChild) -> None:
    process = child._child._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()

    assert await ask(child, a=b"x = 1") == {"a": FileFacts(("x",))}


def test_on_the_servers_event_loop_a_dead_child_is_replaced_too() -> None:
    async def run() -> list[dict[str, FileFacts | FileProblem]]:
        async with SyntaxChild() as child:
            first = await ask(child, a=b"-" * 100_000 + b"1")
            second = await ask(child, a=b"x = 1")
            assert child._child._process is not None
            os.kill(child._child._process.pid, signal.SIGKILL)
            await child._child._process.wait()
            return [first, second, await ask(child, a=b"y = 1")]

    found = uvloop.run(run())

    assert found == [{"a": FileProblem(1, 1, TOO_MUCH)}, {"a": FileFacts(("x",))}, {"a": FileFacts(("y",))}]


async def test_a_push_has_so_much_time_and_no_more() -> None:
    async with SyntaxChild(seconds=0.3) as child:
        process = child._child._process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)

        found = await ask(child, slow=b"x = 1", later=b"y = 1")

        assert found == {"slow": FileProblem(1, 1, "takes longer to read than the 0.3 s that a push has")}
        assert await ask(child, again=b"x = 1") == {"again": FileFacts(("x",))}


async def test_a_call_that_is_cancelled_leaves_no_answer_for_the_next(child: SyntaxChild) -> None:
    process = child._child._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    task = asyncio.create_task(ask(child, a=b"first = 1"))
    while not child._lock.locked():
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await ask(child, b=b"second = 1") == {"b": FileFacts(("second",))}


async def test_a_blob_that_was_seen_is_not_read_again(child: SyntaxChild) -> None:
    read: list[str] = []

    def reading(entry: Entry) -> bytes:
        read.append(entry.path)
        return b"handler = 1"

    first = await child.inspect([Entry("a.py", Kind.FILE, "f" * 40, 11)], reading)
    second = await child.inspect([Entry("b.py", Kind.FILE, "f" * 40, 11)], reading)

    assert first["a.py"] == second["b.py"]
    assert read == ["a.py"]


async def test_pushes_at_the_same_time_get_their_own_answers(child: SyntaxChild) -> None:
    answers = await asyncio.gather(*(ask(child, a=f"name{number} = 1".encode()) for number in range(20)))

    assert [found["a"] for found in answers] == [FileFacts((f"name{number}",)) for number in range(20)]


async def test_the_child_is_held_to_its_memory_and_cannot_write_files(child: SyntaxChild) -> None:
    process = child._child._process
    assert process is not None
    with open(f"/proc/{process.pid}/limits") as limits:
        held = {line[:25].strip(): line[26:46].strip() for line in limits}

    assert held["Max address space"] == str(256 * 1024 * 1024)
    assert held["Max file size"] == "0"


async def test_the_child_ends_with_its_owner() -> None:
    child = SyntaxChild()
    await child.open()
    process = child._child._process
    assert process is not None

    await child.close()

    assert process.returncode is not None


async def test_the_child_does_not_outlive_an_owner_that_was_killed() -> None:
    script = (
        "import asyncio, os, signal\n"
        "from clowdy.hooks.syntax import SyntaxChild\n"
        "async def main():\n"
        "    child = SyntaxChild()\n"
        "    await child.open()\n"
        "    print(child._child._process.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    printed, _ = await owner.communicate()
    state = Path(f"/proc/{int(printed)}/stat")

    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        async with asyncio.timeout(10):
            while state.read_text().rpartition(")")[2].split()[0] != "Z":
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("python", "said"),
    [("/nowhere/python3", "/nowhere/python3 cannot be started"), ("/bin/true", "/bin/true does not run")],
)
async def test_a_python_that_does_not_start_is_named(python: str, said: str) -> None:
    with pytest.raises(SyntaxUnavailable, match=said):
        await SyntaxChild(python).open()


def test_a_program_without_an_event_loop_gets_the_same() -> None:
    files = {"a": b"x = 1"}

    assert inspect_now(entries(files), lambda entry: files[entry.path]) == {"a": FileFacts(("x",))}


def test_line_numbers_are_pythons_own() -> None:
    """Form feeds and U+2028 end no line; a lone carriage return does."""
    answer: dict[str, Any] = examine("a = '\u2028'\x0c\rb = 1\r\ndef f(\n".encode())

    assert (answer["line"], answer["column"], answer["source"]) == (3, 6, "def f(")
