"""What Python and TOML files contain, asked of a resident child: the server's process never parses hostile text."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from clowdy.hooks.tree import Entry
from clowdy.schema.problems import Problem
from clowdy.schema.source import excerpt
from clowdy.schema.text import printable

FILE_BYTES = 1024 * 1024
PUSH_SECONDS = 10.0
START_SECONDS = 10.0
ANSWER_BYTES = 32 * 1024 * 1024
REMEMBERED_FILES = 2048
REMEMBERED_NAMES = 500
REMEMBERED_TABLES = 8

_TOO_MUCH = "too_much"
_PYTHON, _TOML = b"P", b"T"
_WORKER = Path(__file__).with_name("syntax_worker.py")


@dataclass(frozen=True, slots=True)
class PlainFunction:
    """A function that takes one call at a time, by the first names of its positional parameters."""

    parameters: tuple[str, ...]
    generator: bool = False


_NOTHING_PLAIN: Mapping[str, PlainFunction] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file that is Python. `names` are all that its module can bind, `defined` its functions and classes in order.

    `dynamic` means that it may bind others: a star import, a module `__getattr__`, `globals()`, `exec`. In `plain` are
    the names that can be nothing else than the function that the file has.
    """

    names: tuple[str, ...]
    defined: tuple[str, ...] = ()
    dynamic: bool = False
    plain: Mapping[str, PlainFunction] = field(default_factory=lambda: _NOTHING_PLAIN)

    def binds(self, name: str) -> bool:
        """Whether an attribute `name` can be there after the import."""
        return self.dynamic or name in self.names


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A file that is not Python, at one place; without a `source` line where the whole file is meant.

    `source` is the part of the line that is shown, before which `skipped` of its characters stand.
    """

    line: int
    column: int
    message: str
    source: str = ""
    length: int = 1
    skipped: int = 0

    def placed(self, file: str, code: str) -> Problem:
        """The problem of a push that it is."""
        return Problem(
            printable(file),
            self.line,
            self.column,
            code,
            printable(self.message, 300),
            source=self.source,
            length=max(1, min(self.length, self.skipped + len(self.source) - self.column + 1)),
            skipped=self.skipped,
        )


@dataclass(frozen=True, slots=True)
class Table:
    """A file that is TOML. Of the files that a lock lists only hashes, and places that are not on the web, are kept."""

    values: Mapping[str, Any]


class SyntaxUnavailable(Exception):
    """The Python that checks syntax cannot be started; the message says which and why."""


Read = Callable[[Entry], bytes]
Result = TypeVar("Result")


class SyntaxOracle(Protocol):
    """Who knows what Python files contain."""

    async def inspect(self, files: Sequence[Entry], read: Read) -> dict[str, FileFacts | FileProblem]:
        """By path. `read` blocks and is called in a thread. Files after one that used up the time are missing."""
        ...

    async def tables(self, files: Sequence[Entry], read: Read) -> dict[str, Table | FileProblem]:
        """The same for TOML files."""
        ...


class Child(Protocol):
    """A process that runs the worker: what it reads and what it says, and its end."""

    @property
    def reader(self) -> asyncio.StreamReader: ...

    @property
    def writer(self) -> asyncio.StreamWriter: ...

    async def end(self) -> None:
        """Ends it; nothing of it is left."""
        ...


Start = Callable[[Path], Awaitable[Child]]
"""Starts the worker that a file holds; raises OSError or SyntaxUnavailable."""


class SyntaxChild:
    """One warm child under limits of memory and time, replaced when a file was too much for it.

    `open` and `inspect` start processes and so belong to the event loop of the main thread. What a blob contains is
    remembered, so a push costs the files that it changed. `start` brings it up elsewhere than as a child of this
    process.
    """

    def __init__(
        self, python: str = sys.executable, *, seconds: float = PUSH_SECONDS, start: Start | None = None
    ) -> None:
        self._python = python if start is None else "the Python of functions"
        self._start_child = start or partial(start_here, python)
        self._seconds = seconds
        self._child: Child | None = None
        self._lock = asyncio.Lock()
        self._facts: OrderedDict[str, FileFacts | FileProblem] = OrderedDict()
        self._tables: OrderedDict[str, Table | FileProblem] = OrderedDict()
        self.version = ""
        """The version of the Python that judges, `3.11.2`; known after `open`."""

    async def open(self) -> None:
        """Starts the child; raises SyntaxUnavailable."""
        async with self._lock:
            await self._start()

    async def close(self) -> None:
        """Ends the child; the next question starts another, which may be of another Python."""
        async with self._lock:
            await self._stop()
            self._facts.clear()

    async def __aenter__(self) -> SyntaxChild:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def inspect(self, files: Sequence[Entry], read: Read) -> dict[str, FileFacts | FileProblem]:
        """What each file contains, by path: facts, or its first problem.

        All files of a call share one time limit; those after the file that used it up are missing.
        """
        results = await self._learn(_PYTHON, files, read, self._facts, as_result)
        for entry in files:
            result = results.get(entry.path)
            if entry.id and isinstance(result, FileFacts) and len(result.names) <= REMEMBERED_NAMES:
                _remember(self._facts, entry.id, result, REMEMBERED_FILES)
        return results

    async def tables(self, files: Sequence[Entry], read: Read) -> dict[str, Table | FileProblem]:
        """The same for TOML files."""
        results = await self._learn(_TOML, files, read, self._tables, as_table)
        for entry in files:
            result = results.get(entry.path)
            if entry.id and isinstance(result, Table):
                _remember(self._tables, entry.id, result, REMEMBERED_TABLES)
        return results

    async def _learn(
        self,
        kind: bytes,
        files: Sequence[Entry],
        read: Read,
        known: Mapping[str, Result],
        convert: Callable[[dict[str, Any]], Result | FileProblem],
    ) -> dict[str, Result | FileProblem]:
        results: dict[str, Result | FileProblem] = {}
        unknown: list[Entry] = []
        for entry in files:
            if entry.id and entry.id in known:
                results[entry.path] = known[entry.id]
            else:
                unknown.append(entry)
        if unknown:
            async with self._lock:
                deadline = time.monotonic() + self._seconds
                for entry in unknown:
                    content = await asyncio.to_thread(read, entry)
                    answer = await self._inspect(kind + content, deadline)
                    results[entry.path] = answer if isinstance(answer, FileProblem) else convert(answer)
                    if time.monotonic() >= deadline:
                        break
        return results

    async def _inspect(self, content: bytes, deadline: float) -> dict[str, Any] | FileProblem:
        # Twice, since the child may have been ended by other hands while it was idle.
        for _ in range(2):
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0.0)):
                    answer = await self._ask(content)
            except TimeoutError:
                await self._stop()
                return FileProblem(1, 1, f"takes longer to read than the {self._seconds:g} s that a push has")
            except (OSError, EOFError):
                await self._stop()
            except BaseException:
                # Its answer would be taken for that of the next file.
                await self._stop()
                raise
            else:
                if _TOO_MUCH in answer:
                    await self._stop()
                return answer
        return {_TOO_MUCH: True}

    async def _ask(self, content: bytes) -> dict[str, Any]:
        child = self._child or await self._start()
        # uvloop answers a write to a pipe that it knows is broken with RuntimeError.
        if child.writer.is_closing():
            raise EOFError
        child.writer.write(len(content).to_bytes(4, "big") + content)
        await child.writer.drain()
        return await _answer(child)

    async def _start(self) -> Child:
        if self._child is not None:
            return self._child
        child = self._child = await self._start_child(_WORKER)
        try:
            async with asyncio.timeout(START_SECONDS):
                self.version = str((await _answer(child))["python"])
        except (OSError, EOFError, TimeoutError) as error:
            await self._stop()
            raise SyntaxUnavailable(f"{self._python} does not run {_WORKER.name}") from error
        except BaseException:
            await self._stop()
            raise
        return child

    async def _stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.end()


class _LocalChild:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None and process.stdin is not None
        self.reader = process.stdout
        self.writer = process.stdin
        self._process = process

    async def end(self) -> None:
        self.writer.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()


async def start_here(python: str, worker: Path) -> Child:
    """The worker as a child of this process; raises SyntaxUnavailable."""
    try:
        process = await asyncio.create_subprocess_exec(
            python,
            "-IS",
            os.fspath(worker),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise SyntaxUnavailable(f"{python} cannot be started: {error.strerror}") from error
    return _LocalChild(process)


def _remember(known: OrderedDict[str, Result], blob: str, result: Result, most: int) -> None:
    known[blob] = result
    known.move_to_end(blob)
    while len(known) > most:
        known.popitem(last=False)


async def _answer(child: Child) -> dict[str, Any]:
    """The child's next frame; raises EOFError when it is gone."""
    size = int.from_bytes(await child.reader.readexactly(4), "big")
    if size > ANSWER_BYTES:
        raise EOFError
    content: dict[str, Any] = json.loads(await child.reader.readexactly(size))
    return content


def as_result(answer: dict[str, Any]) -> FileFacts | FileProblem:
    """The value of the worker's answer for a Python file."""
    problem = _problem_of(answer)
    if problem is not None:
        return problem
    plain = {
        name: PlainFunction(tuple(found["parameters"]), bool(found["generator"]))
        for name, found in answer["plain"].items()
    }
    return FileFacts(tuple(answer["names"]), tuple(answer["defined"]), bool(answer["dynamic"]), plain)


def as_table(answer: dict[str, Any]) -> Table | FileProblem:
    """The value of the worker's answer for a TOML file."""
    return _problem_of(answer) or Table(answer["table"])


def _problem_of(answer: dict[str, Any]) -> FileProblem | None:
    if _TOO_MUCH in answer:
        return FileProblem(1, 1, "is too large or too deeply nested to be read")
    if "message" in answer:
        line, column, source = answer["line"], answer["column"], answer["source"]
        # A line may be as long as its file, and a push has many files: what is not shown is not kept.
        shown, skipped = ("", 0) if source is None else excerpt(source, column)
        return FileProblem(line, column, answer["message"], shown, answer["length"], skipped)
    return None


def inspect_now(files: Sequence[Entry], read: Read, python: str = sys.executable) -> dict[str, FileFacts | FileProblem]:
    """The same for a program without an event loop: a child for this call alone."""

    async def run() -> dict[str, FileFacts | FileProblem]:
        async with SyntaxChild(python) as child:
            return await child.inspect(files, read)

    return asyncio.run(run())
