"""Every problem of a pushed tree that can be found without starting anything, in the words that all ways in share.

A push, a page's commit and `clowdy validate` call `judge`; the tree may be the server's, a clone's or a folder's.
Nothing on a disk is looked up by a name from the manifest: a path is an entry of the tree or it does not exist.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from clowdy.hooks.contents import Contents
from clowdy.hooks.handlers import Handlers
from clowdy.hooks.requirements import find_requirements
from clowdy.hooks.syntax import FILE_BYTES, SyntaxChild, SyntaxOracle
from clowdy.hooks.tree import Entry, Kind, TreeView
from clowdy.schema.locks import Wanted
from clowdy.schema.manifest import Manifest, Network
from clowdy.schema.marks import Marks
from clowdy.schema.parse import FILE as MANIFEST
from clowdy.schema.parse import SMALLEST, Parsed, parse_manifest
from clowdy.schema.problems import Problem
from clowdy.schema.source import SIZE_LIMIT_BYTES, excess
from clowdy.schema.units import MEBIBYTE, format_excess

_MISSPELLED = ("clowdy.yml", "Clowdy.yaml", "clowdy.YAML", ".clowdy.yaml", ".clowdy.yml")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server that will run the functions allows; None is not known here. `python` is as in `3.11.2`.

    `no_network` says why functions can have no network there, and the cure.
    """

    memory_budget_bytes: int | None = None
    python: str | None = None
    code_bytes: int = 50 * MEBIBYTE
    code_files: int = 10_000
    no_network: str | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found: the manifest, if one could be made at all, and every problem, clowdy.yaml's first.

    `wanted` is what is to be installed, None for nothing. `unchecked` names what could not be judged here for want of
    knowledge. Nothing goes live while there are problems.
    """

    parsed: Parsed
    problems: tuple[Problem, ...]
    wanted: Wanted | None = None
    unchecked: tuple[str, ...] = ()

    @property
    def manifest(self) -> Manifest | None:
        """The manifest, also one that has problems."""
        return self.parsed.manifest


class _Reading(NamedTuple):
    """What was found before any Python file was parsed."""

    parsed: Parsed
    problems: list[Problem]
    handlers: Handlers | None


async def judge(
    tree: TreeView,
    *,
    project: str | None,
    syntax: SyntaxOracle,
    settings: Settings | None = None,
    secrets: Collection[str] | None = None,
) -> Judgement:
    """Reads the tree's clowdy.yaml and checks everything that it says against the tree.

    `project` is the name that `name:` must be, `secrets` are the names that have a value; None means that it is not
    known here. The tree is read in a thread.
    """
    settings = settings or Settings()
    parsed, problems, handlers = await asyncio.to_thread(_read, tree, project, settings, secrets)
    wanted = None
    if handlers is not None:
        assert parsed.manifest is not None
        found = await find_requirements(tree, parsed.manifest, parsed.marks, syntax, settings.python)
        wanted = found.wanted
        problems += found.problems
        facts = await syntax.inspect(handlers.files, lambda entry: tree.read(entry, FILE_BYTES))
        problems += handlers.problems(facts)
    unchecked = _unchecked(parsed.manifest, wanted, project, settings, secrets)
    return Judgement(parsed, in_order(problems), wanted, unchecked)


def judge_now(
    tree: TreeView, *, project: str | None = None, python: str = sys.executable, settings: Settings | None = None
) -> Judgement:
    """The same for a program without an event loop that knows no secrets, such as `clowdy validate`."""

    async def run() -> Judgement:
        async with SyntaxChild(python) as syntax:
            return await judge(tree, project=project, syntax=syntax, settings=settings)

    return asyncio.run(run())


def in_order(problems: Collection[Problem]) -> tuple[Problem, ...]:
    """Each problem once, by file, line and column, those of clowdy.yaml first."""
    return tuple(sorted(set(problems), key=lambda problem: (problem.file != MANIFEST, problem)))


def _read(tree: TreeView, project: str | None, settings: Settings, secrets: Collection[str] | None) -> _Reading:
    content = _content(tree)
    if isinstance(content, Problem):
        return _Reading(Parsed(None, (content,), parse_manifest(b"").marks), [content], None)
    parsed = parse_manifest(content, project=project)
    problems = list(parsed.problems)
    if parsed.manifest is None:
        return _Reading(parsed, problems, None)
    contents = Contents(tree, parsed.manifest, parsed.marks)
    handlers = Handlers(tree, parsed.manifest, parsed.marks, contents)
    problems += contents.problems(settings.code_bytes, settings.code_files)
    problems += handlers.found
    problems += _memory(parsed.manifest, parsed.marks, settings.memory_budget_bytes)
    problems += _network(parsed.manifest, parsed.marks, settings.no_network)
    if secrets is not None:
        problems += _secrets(parsed.manifest, parsed.marks, secrets)
    return _Reading(parsed, problems, handlers)


def _content(tree: TreeView) -> bytes | Problem:
    """The bytes of clowdy.yaml, or the problem that there is no such file to read."""
    entry = tree.entry(MANIFEST)
    if entry is None:
        other = next((name for name in _MISSPELLED if _is_file(tree.entry(name))), None)
        if other is not None:
            return _whole("manifest", f"{MANIFEST} is missing, but {other} is here", f"rename it to {MANIFEST}")
        return _whole("manifest", f"{MANIFEST} is missing", SMALLEST)
    if not _is_file(entry):
        return _whole("manifest", f"{MANIFEST} is a {entry.kind.value}", "make it an ordinary file")
    if entry.size > SIZE_LIMIT_BYTES:
        return _whole("file-size", excess(MANIFEST, entry.size), "make it smaller")
    return tree.read(entry, SIZE_LIMIT_BYTES)


def _is_file(entry: Entry | None) -> bool:
    return entry is not None and entry.kind in (Kind.FILE, Kind.EXECUTABLE)


def _whole(code: str, message: str, hint: str = "") -> Problem:
    return Problem(MANIFEST, 1, 1, code, message, hint)


def _memory(manifest: Manifest, marks: Marks, budget: int | None) -> list[Problem]:
    """What can never start, since no eviction would make room for it."""
    if budget is None:
        return []
    problems: list[Problem] = []
    kept_warm = 0
    for name, function in manifest.functions.items():
        if function.memory_bytes > budget:
            size, most = format_excess(function.memory_bytes, budget)
            problems.append(
                marks.problem(
                    ("functions", name, "memory"),
                    "memory",
                    f"{name} has {size} of memory, all functions of this server together have {most}",
                    "write less, or start the server with a larger --memory-budget",
                )
            )
            continue
        before, kept_warm = kept_warm, kept_warm + function.min_warm * function.memory_bytes
        if before <= budget < kept_warm:
            size, most = format_excess(kept_warm, budget)
            others = ", with those of the functions before it," if before else ""
            problems.append(
                marks.problem(
                    ("functions", name, "min_warm"),
                    "min-warm",
                    f"the warm instances of {name}{others} need {size}, all functions of this server have {most}",
                    "write a smaller min_warm or memory",
                )
            )
    return problems


def _network(manifest: Manifest, marks: Marks, no_network: str | None) -> list[Problem]:
    if no_network is None:
        return []
    reason, _, cure = no_network.partition(" Cure: ")
    message = f"network: true cannot be had on this server: {reason.rstrip('.')}"
    return [
        marks.problem(("functions", name, "network"), "network", message, f"on the server: {cure}" if cure else "")
        for name, function in manifest.functions.items()
        if function.network is Network.ON
    ]


def _secrets(manifest: Manifest, marks: Marks, secrets: Collection[str]) -> list[Problem]:
    """One problem for each name, at the first place that declares it."""
    missing = manifest.secret_names - set(secrets)
    places: dict[str, tuple[str, ...]] = {name: ("env", name) for name in missing & manifest.secrets}
    for function in manifest.functions.values():
        for name in missing & function.secrets:
            places.setdefault(name, ("functions", function.name, "env", name))
    return [
        marks.problem(path, "secret-missing", f"{name} has no value", f"clowdy secret set {name}", key=True)
        for name, path in places.items()
    ]


def _unchecked(
    manifest: Manifest | None,
    wanted: Wanted | None,
    project: str | None,
    settings: Settings,
    secrets: Collection[str] | None,
) -> tuple[str, ...]:
    if manifest is None:
        return ()
    unchecked: Sequence[tuple[bool, str]] = (
        (project is None and manifest.name is not None, "that name is the project's"),
        (secrets is None and bool(manifest.secret_names), "that secrets have a value"),
        (settings.python is None and wanted is not None, "that requirements can be had for the server's Python"),
        (settings.memory_budget_bytes is None, "that memory and min_warm fit the server"),
        (
            settings.memory_budget_bytes is None
            and any(function.network is Network.ON for function in manifest.functions.values()),
            "that network: true can be had on the server",
        ),
    )
    return tuple(words for applies, words in unchecked if applies)
