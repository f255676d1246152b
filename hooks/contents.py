"""What the `source` folders of a manifest hold: that they exist, fit the limits, and are files and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from clowdy.hooks.code import DEFAULT_PATTERNS, IGNORE_FILE, folders_above, outermost, read_patterns
from clowdy.hooks.ignore import Ignore, IgnoreError
from clowdy.hooks.tree import Entry, Kind, TreeView
from clowdy.schema.manifest import Manifest
from clowdy.schema.marks import Marks
from clowdy.schema.problems import Problem
from clowdy.schema.source import excerpt
from clowdy.schema.suggest import Suggester
from clowdy.schema.text import printable
from clowdy.schema.units import format_excess

TREE_PROBLEM_CODES = {Kind.SYMLINK: "symlink", Kind.SUBMODULE: "submodule"}


@dataclass(slots=True)
class _Total:
    files: int = 0
    size: int = 0

    def add(self, entry: Entry) -> None:
        self.files += 1
        self.size += entry.size


class Contents:
    """One walk over everything that is some function's code, whatever the number of functions."""

    def __init__(self, tree: TreeView, manifest: Manifest, marks: Marks) -> None:
        self._tree = tree
        self._manifest = manifest
        self._marks = marks
        self._ignore_problem: Problem | None = None
        self._patterns = self._read_patterns()
        self._matcher = self._patterns.matcher()
        self._own_patterns = tree.entry(IGNORE_FILE) is not None
        self._folders = {source for function in manifest.functions.values() for source in function.sources}
        self._kinds = {folder: self._kind(folder) for folder in self._folders}
        self._totals: defaultdict[str, _Total] = defaultdict(_Total)
        self._strangers: list[Entry] = []
        self._walk()

    def problems(self, code_bytes: int, code_files: int) -> list[Problem]:
        """Missing folders, symlinks and submodules, code that is too large."""
        found = [self._ignore_problem] if self._ignore_problem else []
        found += self._folder_problems()
        found += [
            Problem(
                printable(entry.path),
                1,
                1,
                TREE_PROBLEM_CODES[entry.kind],
                f"a {entry.kind.value} cannot be part of a function's code",
                f"replace it by its content, or name it in {IGNORE_FILE}",
            )
            for entry in self._strangers
        ]
        return found + self._size_problems(code_bytes, code_files)

    def left_out(self, path: str) -> str | None:
        """Who leaves the file at `path` out of the code, in words, or None."""
        if not self._matcher.leaves_out(path):
            return None
        return IGNORE_FILE if self._own_patterns else f"the default without {IGNORE_FILE}"

    def _read_patterns(self) -> Ignore:
        try:
            return read_patterns(self._tree)
        except IgnoreError as error:
            shown = excerpt(error.source, 1).text if error.source else ""
            self._ignore_problem = Problem(
                IGNORE_FILE, error.line, 1, "ignore", error.message, source=shown, length=max(1, len(shown))
            )
            return Ignore.parse(DEFAULT_PATTERNS)

    def _kind(self, folder: str) -> Kind | None:
        if folder == ".":
            return Kind.FOLDER
        entry = self._tree.entry(folder)
        return None if entry is None else entry.kind

    def _walk(self) -> None:
        folders = {folder for folder, kind in self._kinds.items() if kind is Kind.FOLDER}
        for top in outermost(folders):
            only = self._totals[top] if folders == {top} else None
            for entry in self._tree.walk(top):
                if self._matcher.leaves_out(entry.path):
                    continue
                if entry.kind in TREE_PROBLEM_CODES:
                    self._strangers.append(entry)
                elif only is not None:
                    only.add(entry)
                else:
                    for folder in folders_above(entry.path):
                        if folder in folders:
                            self._totals[folder].add(entry)

    def _folder_problems(self) -> list[Problem]:
        found: list[Problem] = []
        if all(kind is Kind.FOLDER for kind in self._kinds.values()):
            return found
        suggester, known = Suggester(), self._known_folders()
        for name, function in self._manifest.functions.items():
            for index, folder in enumerate(function.sources):
                kind = self._kinds[folder]
                if kind is Kind.FOLDER:
                    continue
                if kind is None:
                    message, hint = f"source {folder} does not exist", suggester.hint(folder, known)
                else:
                    message, hint = f"source {folder} is a {kind.value.replace('executable', 'file')}", "name a folder"
                found.append(self._marks.problem(("functions", name, "source", index), "source", message, hint))
        return found

    def _known_folders(self) -> list[str]:
        known: dict[str, None] = {}
        for entry in self._tree.walk("."):
            folder = entry.path.rpartition("/")[0]
            if folder:
                known[folder] = None
            if len(known) >= 500:
                break
        return list(known)

    def _size_problems(self, code_bytes: int, code_files: int) -> list[Problem]:
        groups: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        for name, function in self._manifest.functions.items():
            groups[tuple(outermost(function.sources))].append(name)
        found: list[Problem] = []
        for folders, names in groups.items():
            files = sum(self._totals[folder].files for folder in folders if folder in self._totals)
            size = sum(self._totals[folder].size for folder in folders if folder in self._totals)
            for too_much, amount, most in (
                (size > code_bytes, *format_excess(size, code_bytes)),
                (files > code_files, f"{files:,} files", f"{code_files:,} files"),
            ):
                if too_much:
                    found.append(self._limit(names, amount, most))
        return found

    def _limit(self, names: Sequence[str], amount: str, most: str) -> Problem:
        whose = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        return self._marks.problem(
            (),
            "code-size",
            f"the code of {whose} has {amount}, a function may have {most}",
            f"name a smaller source, or leave files out by {IGNORE_FILE}",
        )
