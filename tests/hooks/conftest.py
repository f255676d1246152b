"""Trees in memory, and the real parser without its process."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

import pytest

from clowdy.hooks.check import Judgement, Settings, judge
from clowdy.hooks.syntax import FileFacts, FileProblem, Read, Table, as_result, as_table
from clowdy.hooks.syntax_worker import examine, tabulate
from clowdy.hooks.tree import Entry, Kind, TreeView

LINK = Kind.SYMLINK
SUBMODULE = Kind.SUBMODULE


class MemoryTree:
    """A tree of texts; a Kind in place of a text makes a symlink or submodule."""

    def __init__(self, files: Mapping[str, str | bytes | Kind]) -> None:
        self._contents = {
            path: content.encode() if isinstance(content, str) else b"" if isinstance(content, Kind) else content
            for path, content in files.items()
        }
        self._kinds = {path: content if isinstance(content, Kind) else Kind.FILE for path, content in files.items()}

    def entry(self, path: str) -> Entry | None:
        if path in self._contents:
            content = self._contents[path]
            return Entry(path, self._kinds[path], hashlib.sha1(content).hexdigest(), len(content))
        if path == "." or any(known.startswith(f"{path}/") for known in self._contents):
            return Entry(path, Kind.FOLDER, "", 0)
        return None

    def walk(self, folder: str) -> Iterator[Entry]:
        for path in sorted(self._contents, key=os.fsencode):
            if folder == "." or path.startswith(f"{folder}/"):
                entry = self.entry(path)
                assert entry is not None
                yield entry

    def read(self, entry: Entry, limit: int) -> bytes:
        content = self._contents[entry.path]
        if len(content) > limit:
            raise ValueError(f"more than {limit} bytes")
        return content


class HereOracle:
    """The worker's own function, called in this process: for files that the tests wrote."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def inspect(self, files: Sequence[Entry], read: Read) -> dict[str, FileFacts | FileProblem]:
        self.asked += [entry.path for entry in files]
        return {entry.path: as_result(examine(read(entry))) for entry in files}

    async def tables(self, files: Sequence[Entry], read: Read) -> dict[str, Table | FileProblem]:
        return {entry.path: as_table(tabulate(read(entry))) for entry in files}


TreeOf = Callable[[Mapping[str, str | bytes | Kind]], TreeView]
JudgeFiles = Callable[..., Awaitable[Judgement]]


@pytest.fixture
def tree_of() -> TreeOf:
    return MemoryTree


@pytest.fixture
def judge_files() -> JudgeFiles:
    async def run(
        files: Mapping[str, str | bytes | Kind],
        *,
        project: str | None = "shop",
        settings: Settings | None = None,
        secrets: Sequence[str] | None = (),
    ) -> Judgement:
        return await judge(MemoryTree(files), project=project, syntax=HereOracle(), settings=settings, secrets=secrets)

    return run
