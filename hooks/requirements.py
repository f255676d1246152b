"""The requirements of a pushed tree: the list in clowdy.yaml, or the file or lock that it names."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from clowdy.hooks.syntax import FileProblem, SyntaxOracle, Table
from clowdy.hooks.tree import Entry, Kind, TreeView
from clowdy.schema.locks import Pin, Wanted, parse_lock, print_lock
from clowdy.schema.manifest import Manifest
from clowdy.schema.marks import Marks
from clowdy.schema.problems import Problem
from clowdy.schema.pylock import FILE as PYLOCK
from clowdy.schema.pylock import read_pylock
from clowdy.schema.pyproject import Pyproject, compare_with_lock, read_pyproject
from clowdy.schema.rejection import Rejection
from clowdy.schema.requirements import requirement_lines, requirement_problems
from clowdy.schema.source import SIZE_LIMIT_BYTES, Source
from clowdy.schema.text import printable
from clowdy.schema.toml_places import TomlPlaces
from clowdy.schema.units import MEBIBYTE, format_excess
from clowdy.schema.uv_lock import read_uv_lock

LOCK_BYTES = 5 * MEBIBYTE
"""The largest lock of a repository."""

_CODE = "requirements"


@dataclass(frozen=True, slots=True)
class Found:
    """What a tree asks for, or why that cannot be said. Nothing is wanted where there are no requirements."""

    wanted: Wanted | None = None
    problems: tuple[Problem, ...] = ()


async def find_requirements(
    tree: TreeView, manifest: Manifest, marks: Marks, syntax: SyntaxOracle, python: str | None = None
) -> Found:
    """Reads what `requirements` says; `python` is the version that functions run with, `3.11.2`, where it is known."""
    file = manifest.requirements_file
    if file is None:
        return Found(Wanted(manifest.requirements) if manifest.requirements else None)
    return await _Reader(tree, marks, syntax, python).read(file)


class _Reader:
    def __init__(self, tree: TreeView, marks: Marks, syntax: SyntaxOracle, python: str | None) -> None:
        self._tree = tree
        self._marks = marks
        self._syntax = syntax
        self._python = python

    async def read(self, file: str) -> Found:
        folder, _, name = file.rpartition("/")
        if name == "pyproject.toml":
            return await self._pyproject(file, f"{folder}/uv.lock" if folder else "uv.lock")
        if name == "uv.lock":
            return await self._uv_lock(file)
        if PYLOCK.fullmatch(name):
            return await self._pylock(file)
        return await asyncio.to_thread(self._lines, file)

    def _lines(self, file: str) -> Found:
        content = self._content(file, SIZE_LIMIT_BYTES)
        if isinstance(content, Found):
            return content
        try:
            text = content.removeprefix(b"\xef\xbb\xbf").decode()
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode().split("\n")
            found = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
            problem = Problem(
                printable(file), len(before), len(before[-1]) + 1, "encoding", found, "save the file as UTF-8"
            )
            return Found(problems=(problem,))
        problems = requirement_problems(text, printable(file))
        if problems:
            return Found(problems=tuple(problems))
        lines = tuple(line for _, line in requirement_lines(text))
        return Found(Wanted(lines) if lines else None)

    async def _pyproject(self, file: str, lock_file: str) -> Found:
        read = await self._table(file, SIZE_LIMIT_BYTES)
        if isinstance(read, Found):
            return read
        values, places = read
        locked = self._tree.entry(lock_file) is not None
        project = await asyncio.to_thread(read_pyproject, values, places, locked=locked)
        self._fits(project.requires_python, places, "[project")
        if not locked:
            return _found(Wanted(project.dependencies) if project.dependencies else None, places)
        read = await self._table(lock_file, LOCK_BYTES)
        if isinstance(read, Found):
            return Found(problems=(*places.problems, *read.problems))
        return await asyncio.to_thread(self._of_uv_lock, *read, project, places)

    async def _uv_lock(self, file: str) -> Found:
        read = await self._table(file, LOCK_BYTES)
        if isinstance(read, Found):
            return read
        return await asyncio.to_thread(self._of_uv_lock, *read)

    def _of_uv_lock(
        self,
        values: Mapping[str, Any],
        places: TomlPlaces,
        project: Pyproject | None = None,
        project_places: TomlPlaces | None = None,
    ) -> Found:
        lock = read_uv_lock(values, places, project.name if project else None)
        if not places.problems:
            self._fits(lock.requires_python, places)
            if project is not None and project_places is not None:
                compare_with_lock(project, lock, project_places)
        return _found(_locked(lock.pins, places), *([project_places] if project_places else []), places)

    async def _pylock(self, file: str) -> Found:
        read = await self._table(file, LOCK_BYTES)
        if isinstance(read, Found):
            return read
        return await asyncio.to_thread(self._of_pylock, *read)

    def _of_pylock(self, values: Mapping[str, Any], places: TomlPlaces) -> Found:
        lock = read_pylock(values, places, self._python)
        self._fits(lock.requires_python, places)
        return _found(_locked(lock.pins, places), places)

    async def _table(self, file: str, limit: int) -> tuple[Mapping[str, Any], TomlPlaces] | Found:
        content = await asyncio.to_thread(self._content, file, limit)
        if isinstance(content, Found):
            return content
        entry = self._tree.entry(file)
        assert entry is not None
        table = (await self._syntax.tables([entry], lambda entry: content)).get(file)
        if not isinstance(table, Table):
            problem = table or FileProblem(1, 1, "takes too long to read")
            return Found(problems=(problem.placed(file, "toml"),))
        text = content.decode(errors="replace").removeprefix("\ufeff")
        return table.values, TomlPlaces(Source(printable(file), text))

    def _content(self, file: str, limit: int) -> bytes | Found:
        entry = self._tree.entry(file)
        if not _is_file(entry):
            found = "does not exist" if entry is None else f"is a {entry.kind.value}, it must be a file"
            return self._refused(f"{file} {found}")
        assert entry is not None
        if entry.size > limit:
            size, most = format_excess(entry.size, limit)
            problem = Problem(printable(file), 1, 1, "file-size", f"it has {size}, it may have {most}")
            return Found(problems=(problem,))
        return self._tree.read(entry, limit)

    def _fits(self, requires: str, places: TomlPlaces, table: str = "") -> None:
        """Reports a Python that the project or its lock was not made for."""
        if self._python is None or not requires:
            return
        try:
            if SpecifierSet(requires).contains(self._python, prereleases=True):
                return
            said = f"requires-python is {printable(requires, 60)}, functions of this server run with {self._python}"
        except InvalidSpecifier:
            said = f"requires-python is {printable(requires, 60)}, which names no versions"
        places.report(Rejection(_CODE, said), table, key="requires-python")

    def _refused(self, message: str) -> Found:
        return Found(problems=(self._marks.problem(("requirements",), _CODE, message),))


def _locked(pins: tuple[Pin, ...], places: TomlPlaces) -> Wanted | None:
    if not pins:
        return None
    text = print_lock(pins)
    try:
        parse_lock(text)
    except Rejection as rejection:
        places.report(rejection)
    return Wanted((), text)


def _found(wanted: Wanted | None, *places: TomlPlaces) -> Found:
    problems = tuple(problem for each in places for problem in each.problems)
    return Found(None if problems else wanted, problems)


def _is_file(entry: Entry | None) -> bool:
    return entry is not None and entry.kind in (Kind.FILE, Kind.EXECUTABLE)
