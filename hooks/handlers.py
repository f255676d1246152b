"""Whether each function's handler is there: a file of the tree, Python, with something of the handler's name."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping

from clowdy.hooks.contents import TREE_PROBLEM_CODES, Contents
from clowdy.hooks.syntax import FILE_BYTES, FileFacts, FileProblem
from clowdy.hooks.tree import Entry, Kind, TreeView
from clowdy.schema.manifest import FunctionSpec, HandlerType, Manifest
from clowdy.schema.marks import Marks
from clowdy.schema.paths import default_handler
from clowdy.schema.problems import Problem
from clowdy.schema.suggest import Suggester
from clowdy.schema.text import printable, quoted
from clowdy.schema.units import format_excess

_LISTED = 8
_PATHS = 2000
_WSGI = "WSGI application"


class Handlers:
    """The handlers of a manifest, first as paths, then, when their files are known, as names in them."""

    def __init__(self, tree: TreeView, manifest: Manifest, marks: Marks, contents: Contents) -> None:
        self._tree = tree
        self._marks = marks
        self._contents = contents
        self._suggester = Suggester()
        self._python_files: defaultdict[str, list[str]] | None = None
        self._functions: defaultdict[str, list[FunctionSpec]] = defaultdict(list)
        self._entries: dict[str, Entry] = {}
        self.found: list[Problem] = []
        """What is wrong with the paths alone."""
        for function in manifest.functions.values():
            self._look_up(function)

    @property
    def files(self) -> list[Entry]:
        """Every file that has a handler, once."""
        return list(self._entries.values())

    def problems(self, facts: Mapping[str, FileFacts | FileProblem]) -> list[Problem]:
        """What is wrong inside the files, given what each of them contains."""
        problems: list[Problem] = []
        for path in self._entries:
            fact = facts.get(path)
            if isinstance(fact, FileProblem):
                problems.append(fact.placed(path, "syntax"))
            elif isinstance(fact, FileFacts):
                for function in self._functions[path]:
                    shape = _one_at_a_time(function, fact)
                    if not fact.binds(function.attribute):
                        problems.append(self._unbound(function, fact))
                    elif function.parallel > 1 and shape is not None:
                        problems.append(not_parallel(self._marks, function.name, shape))
        return problems

    def _look_up(self, function: FunctionSpec) -> None:
        path = function.path
        if path in self._functions:
            self._functions[path].append(function)
            return
        obstacle = self._obstacle(function)
        if obstacle is not None:
            self.found.append(obstacle)
            return
        entry = self._tree.entry(path)
        assert entry is not None
        self._functions[path].append(function)
        if entry.size > FILE_BYTES:
            size, most = format_excess(entry.size, FILE_BYTES)
            self.found.append(
                Problem(
                    printable(path),
                    1,
                    1,
                    "file-size",
                    f"a handler's file has {size}, it may have {most}",
                    "move what is large to another file",
                )
            )
            return
        self._entries[path] = entry

    def _obstacle(self, function: FunctionSpec) -> Problem | None:
        """Why there is no file at the handler's path, or None."""
        path = function.path
        entry = self._tree.entry(path)
        if entry is None:
            for end in (index for index, character in enumerate(path) if character == "/"):
                above = self._tree.entry(path[:end])
                if above is None:
                    break
                if above.kind in TREE_PROBLEM_CODES:
                    return self._problem(function, f"{path} lies behind the {above.kind.value} {above.path}")
            return self._problem(function, f"{path} does not exist", self._meant(function))
        if entry.kind not in (Kind.FILE, Kind.EXECUTABLE):
            return self._problem(function, f"{path} is a {entry.kind.value}, it must be a file")
        out = self._contents.left_out(path)
        if out is not None:
            return self._problem(function, f"{path} is left out of the code by {out}")
        return None

    def _problem(self, function: FunctionSpec, message: str, hint: str = "") -> Problem:
        return self._marks.problem(("functions", function.name, "handler"), "handler", message, hint)

    def _unbound(self, function: FunctionSpec, facts: FileFacts) -> Problem:
        missing = quoted(function.attribute)
        candidates = facts.defined or facts.names
        if not candidates:
            return self._problem(function, f"{function.path} has no {missing}; it defines nothing")
        listed = ", ".join(candidates[:_LISTED]) + (", …" if len(candidates) > _LISTED else "")
        hint = self._suggester.hint(function.attribute, facts.names)
        return self._problem(function, f"{function.path} has no {missing}; found: {listed}", hint)

    def _meant(self, function: FunctionSpec) -> str:
        """What the author probably meant by a path that does not exist."""
        first = function.sources[0]
        if first != "." and function.file.startswith(f"{first}/"):
            inner = function.file.removeprefix(f"{first}/")
            below = self._tree.entry(function.file)
            if below is not None and below.kind in (Kind.FILE, Kind.EXECUTABLE):
                return f"it is relative to source {first}: write {quoted(f'{inner}:{function.attribute}')}"
        known = self._known()
        same_name = known.get(function.file.rpartition("/")[2], [])
        hint = self._suggester.hint(function.path, same_name or [path for paths in known.values() for path in paths])
        if hint:
            return hint
        if same_name:
            return f"did you mean {quoted(same_name[0])}?"
        if (function.file, function.attribute) == default_handler(function.name):
            return "write it, or name another file: handler: FILE:ATTRIBUTE"
        return ""

    def _known(self) -> dict[str, list[str]]:
        """Python files of the tree by their last name, as many as are worth comparing with."""
        if self._python_files is None:
            files = (
                entry.path
                for entry in self._tree.walk(".")
                if entry.path.endswith(".py") and entry.kind in (Kind.FILE, Kind.EXECUTABLE)
            )
            self._python_files = defaultdict(list)
            for path in itertools.islice(files, _PATHS):
                self._python_files[path.rpartition("/")[2]].append(path)
        return self._python_files


def not_parallel(marks: Marks, name: str, shape: str) -> Problem:
    """That a function with `parallel` above 1 is, by `shape`, one that takes one call at a time."""
    message = f"{name} is a {shape}: parallel above 1 is for async handlers and ASGI applications only"
    return marks.problem(("functions", name, "parallel"), "not-parallel", message)


def _one_at_a_time(function: FunctionSpec, facts: FileFacts) -> str | None:
    """What a handler is that takes one call at a time, in the runner's words; None where its file does not say so."""
    if function.type is HandlerType.WSGI:
        return _WSGI
    plain = facts.plain.get(function.attribute)
    if plain is None or function.type is HandlerType.ASGI:
        return None
    if function.type is HandlerType.AUTO:
        if plain.parameters[:2] == ("environ", "start_response"):
            return _WSGI
        if plain.parameters[:3] == ("scope", "receive", "send"):
            return None
    return "generator" if plain.generator else "handler"
