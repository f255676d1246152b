"""What changed in one function, in a few words, and how many lines of its code."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol

from clowdy.hooks.code import folders_above, outermost
from clowdy.hooks.ignore import Ignore
from clowdy.schema.manifest import FunctionSpec
from clowdy.schema.units import GIBIBYTE, MEBIBYTE


class FileChange(Protocol):
    """Lines of one file; None where they cannot be counted, as in a picture."""

    @property
    def added(self) -> int | None: ...

    @property
    def removed(self) -> int | None: ...


class LineCount(NamedTuple):
    """Lines added to and removed from a function's code."""

    added: int
    removed: int

    def __str__(self) -> str:
        return f"+{self.added} −{self.removed}"


def count_lines(
    changes: Mapping[str, FileChange], functions: Collection[FunctionSpec], patterns: Ignore
) -> dict[str, LineCount]:
    """The lines that changed in each function's code, by its name, from those of each path."""
    matcher = patterns.matcher()
    wanted = {source: [0, 0] for function in functions for source in function.sources}
    for path, change in changes.items():
        if not matcher.leaves_out(path):
            for folder in folders_above(path):
                if folder in wanted:
                    wanted[folder][0] += change.added or 0
                    wanted[folder][1] += change.removed or 0
    counts: dict[str, LineCount] = {}
    for function in functions:
        own = [wanted[source] for source in outermost(function.sources)]
        counts[function.name] = LineCount(sum(added for added, _ in own), sum(removed for _, removed in own))
    return counts


def function_changes(old: FunctionSpec, new: FunctionSpec, *, recoded: bool, lines: LineCount | None) -> list[str]:
    """`code +12 −3`, `memory 128→256 MB`, …: everything that differs, the most telling first."""
    changes = [f"code {lines}" if lines is not None and any(lines) else "code"] if recoded else []
    handlers = f"{old.file}:{old.attribute}", f"{new.file}:{new.attribute}"
    if handlers[0] != handlers[1]:
        changes.append(f"handler {handlers[0]}→{handlers[1]}")
    if old.sources != new.sources:
        changes.append(f"source {', '.join(old.sources)}→{', '.join(new.sources)}")
    if old.type is not new.type:
        changes.append(f"type {old.type.value}→{new.type.value}")
    if old.memory_bytes != new.memory_bytes:
        changes.append(f"memory {_sizes(old.memory_bytes, new.memory_bytes)}")
    if old.timeout_seconds != new.timeout_seconds:
        changes.append(f"timeout {old.timeout_seconds:g}→{new.timeout_seconds:g} s")
    for name, before, after in (
        ("cpu", old.cpu, new.cpu),
        ("concurrency", old.concurrency, new.concurrency),
        ("parallel", old.parallel, new.parallel),
        ("min_warm", old.min_warm, new.min_warm),
    ):
        if before != after:
            changes.append(f"{name} {before:g}→{after:g}")
    for name, differs in (
        ("network", old.network is not new.network),
        ("env", dict(old.env) != dict(new.env)),
        ("secrets", old.secrets != new.secrets),
        ("schedule", old.schedules != new.schedules),
        ("public", old.public != new.public),
        ("description", old.description != new.description),
    ):
        if differs:
            changes.append(name)
    return changes


def version_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What changes between the versions of two locks by name: `httpx 0.27→0.28`, `+ h2 4.1`, `- flask 2.0`."""
    both = [name for name in after if name in before and before[name] != after[name]]
    return [
        *(f"{name} {before[name]}→{after[name]}" for name in both),
        *(f"+ {name} {version}" for name, version in after.items() if name not in before),
        *(f"- {name} {version}" for name, version in before.items() if name not in after),
    ]


def moved(old: str, new: str) -> str:
    """`false → true`."""
    return f"{old} → {new}"


def _sizes(old: int, new: int) -> str:
    """`128→256 MB`, `512 MB→1 GB`."""
    (before, unit), (after, other) = _size(old), _size(new)
    return f"{before}→{after} {other}" if unit == other else f"{before} {unit}→{after} {other}"


def _size(size_bytes: int) -> tuple[str, str]:
    """A size that loses nothing: in GB only when it is some tenths of one exactly."""
    if size_bytes >= GIBIBYTE and size_bytes * 10 % GIBIBYTE == 0:
        return f"{size_bytes / GIBIBYTE:g}", "GB"
    return f"{size_bytes / MEBIBYTE:g}", "MB"
