"""What the pusher reads, line by line, as text or as JSON. Pure; every word of a stranger passes `printable`."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clowdy.hooks.plan import Plan, Row
from clowdy.schema.problems import Problem
from clowdy.schema.text import printable

PLAN_ONLY = "plan only, nothing changed"
REASON_LENGTH = 200
SHOWN_PROBLEMS = 500
_SOURCE_COLUMNS = 110
_BEFORE_CARET = 40
_NAME_COLUMNS = 28


def problem_text(problem: Problem, severity: str = "error") -> list[str]:
    """`clowdy.yaml:14:3: error[route-duplicate] …` with its source line and a caret, where there is one."""
    place = f"{printable(problem.file)}:{problem.line}:{problem.column}"
    lines = [f"{place}: {severity}[{problem.code}] {_sentence(problem)}"]
    if problem.source:
        shown, column, length = _window(problem)
        before, marked = shown[: column - 1], shown[column - 1 : column - 1 + length]
        lines.append(f"{problem.line:>5} | {shown}".rstrip())
        lines.append(f"{'':>5} | {' ' * _columns(before)}{'^' * max(_columns(marked), 1)}")
    return lines


def short_reason(problems: Sequence[Problem]) -> str:
    """What stands in git's `[remote rejected] (…)`: the first problem in full, the others as a number."""
    if not problems:
        return "refused"
    first = problems[0]
    more = f" (+{len(problems) - 1} more)" if len(problems) > 1 else ""
    text = f"{first.file}:{first.line}:{first.column} {first.message}"
    return printable(text, REASON_LENGTH - len(more)) + more


def row_text(row: Row, name_columns: int = 0) -> str:
    """` ~ function checkout  v8→v9 code +12 −3   ⚠ widened`."""
    name = printable(row.name)
    padded = name + " " * max(name_columns - _columns(name), 0)
    warning = f"   ⚠ {printable(row.warning)}" if row.warning else ""
    return f" {row.sign} {row.kind:<8} {padded}  {printable(row.text)}".rstrip() + warning


def plan_text(plan: Plan) -> list[str]:
    """The plan as people read it: what it compares, the rows, what to know besides."""
    lines = [printable(plan.since)] if plan.since else []
    live = f"deploy/{plan.live} ({_short(plan.live_commit)})"
    if plan.release is not None:
        there = f"deploy/{plan.release} ({_short(plan.commit)})"
        build = "its requirements are installed first" if plan.builds else "no build needed"
        lines.append(f"live: {live} → {there}   {build}" if plan.live is not None else f"live: {there}")
    elif plan.live is not None:
        lines.append(f"Plan for {_short(plan.commit)} (live is deploy/{plan.live}, {_short(plan.live_commit)})")
    else:
        lines.append(f"Plan for {_short(plan.commit)} (nothing is live yet)")
    width = min(max((_columns(printable(row.name)) for row in plan.changes), default=0), _NAME_COLUMNS)
    lines += [row_text(row, width if row.kind else 0) for row in plan.rows]
    return lines + [printable(note) for note in plan.notes]


@dataclass(frozen=True, slots=True)
class Switched:
    """Something went live. `in_flight` counts the calls that finish on what served before, None where unknown."""

    release: int
    commit: str
    milliseconds: float
    before: int | None = None
    before_commit: str | None = None
    in_flight: int | None = None

    @property
    def tag(self) -> str:
        """The release's tag as people type it."""
        return f"deploy/{self.release}"


class Reporter:
    """Every line of one push, in the form that the pusher asked for."""

    def __init__(self, *, as_json: bool = False, remote: str = "clowdy") -> None:
        self._as_json = as_json
        self._remote = remote

    def progress(self, text: str, seconds: float | None = None) -> list[str]:
        """Something is happening, or happened after so many seconds of the push."""
        if self._as_json:
            return [_line("progress", text=printable(text), seconds=_rounded(seconds))]
        return [printable(text) if seconds is None else f"{seconds:6.2f} s  {printable(text)}"]

    def output(self, source: str, text: str) -> list[str]:
        """What a build or a function printed, each line under the name of who printed it."""
        lines = text.splitlines()
        if self._as_json:
            return [_line("progress", text=printable(line), source=printable(source)) for line in lines]
        return [f"  {printable(source)} | {printable(line)}".rstrip() for line in lines]

    def plan(self, plan: Plan) -> list[str]:
        """What would change, or is about to."""
        return [_line("plan", **_printable(plan.as_json()))] if self._as_json else plan_text(plan)

    def planned(self) -> list[str]:
        """The last word of a push that only plans."""
        return [_line("done", ok=True, text=PLAN_ONLY)] if self._as_json else [PLAN_ONLY]

    def problems(self, problems: Sequence[Problem], live: int | None) -> list[str]:
        """Every problem, and that nothing was deployed; `live` is the release that keeps serving."""
        stays = f"live stays at deploy/{live}." if live is not None else "nothing is live yet."
        text = f"{counted(len(problems), 'problem')}, nothing was deployed. {stays}"
        if self._as_json:
            end = _line("done", ok=False, problems=len(problems), live=_tag(live), text=text)
            return [*self._problems(problems, "error"), end]
        return [*self._problems(problems, "error"), text]

    def warnings(self, branch: str, problems: Sequence[Problem]) -> list[str]:
        """Problems of a branch that is only stored."""
        if not problems:
            return []
        text = f"{printable(branch)} is stored; a push of it to the deploy branch would be refused"
        if self._as_json:
            return self._problems(problems, "warning", branch=printable(branch))
        return [*self._problems(problems, "warning"), f"{counted(len(problems), 'warning')}: {text}"]

    def refused(self, reason: str, live: int | None) -> list[str]:
        """The push ends without a problem in a file: it was cancelled, overtaken, or came too late."""
        text = printable(reason)
        return [_line("done", ok=False, problems=0, live=_tag(live), text=text)] if self._as_json else [text]

    def ended(self, text: str, live: int | None, *, ok: bool) -> list[str]:
        """The last word of a push that has none of its own; as text none, since git itself says what came of it."""
        return [_line("done", ok=ok, live=_tag(live), text=printable(text))] if self._as_json else []

    def switched(self, switched: Switched) -> list[str]:
        """The switch with its time, and what served before."""
        if self._as_json:
            return [
                _line(
                    "switched",
                    release=switched.release,
                    tag=switched.tag,
                    commit=switched.commit,
                    before=_tag(switched.before),
                    before_commit=switched.before_commit,
                    milliseconds=_rounded(switched.milliseconds),
                    in_flight=switched.in_flight,
                )
            ]
        words = [f"switched to {switched.tag} in {switched.milliseconds:.0f} ms"]
        if switched.before is None:
            words.append("nothing served before")
        else:
            words.append(f"served before: deploy/{switched.before} ({_short(switched.before_commit)})")
            if switched.in_flight:
                requests = "1 in-flight request finishes" if switched.in_flight == 1 else (
                    f"{switched.in_flight} in-flight requests finish"
                )  # fmt: skip
                words.append(f"{requests} on deploy/{switched.before}")
        return [" · ".join(words)]

    def done(self, switched: Switched, urls: Sequence[str], seconds: float) -> list[str]:
        """The last words of a push that went live: where it answers, and how to go back."""
        back = self._back(switched.before if switched.before != switched.release else None)
        if self._as_json:
            return [
                _line(
                    "done",
                    ok=True,
                    live=switched.tag,
                    urls=[printable(url) for url in urls],
                    back=back,
                    seconds=_rounded(seconds),
                )
            ]
        took = f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds * 1000:.0f} ms"
        lines = [f"{switched.tag} is live ({_short(switched.commit)}), {took}"]
        lines += [f"  {printable(url)}" for url in urls]
        return [*lines, f"back: {', or '.join(back)}"] if back else lines

    def _back(self, before: int | None) -> list[str]:
        if before is None:
            return []
        return ["clowdy rollback", f"git fetch {self._remote} && git push {self._remote} deploy/{before}:live"]

    def _problems(self, problems: Sequence[Problem], severity: str, **more: str) -> list[str]:
        shown = problems[:SHOWN_PROBLEMS]
        rest = len(problems) - len(shown)
        if self._as_json:
            return [_line("problem", severity=severity, **_printable(problem.as_json()), **more) for problem in shown]
        lines = [line for problem in shown for line in problem_text(problem, severity)]
        return [*lines, f"… and {rest:,} more"] if rest else lines


def _sentence(problem: Problem) -> str:
    message, hint = printable(problem.message), printable(problem.hint)
    return f"{message}: {hint}" if hint else message


def _window(problem: Problem) -> tuple[str, int, int]:
    """The part of the source line around the caret that fits a terminal, with the caret's column and length in it."""
    source = printable(problem.source)
    column = min(problem.column - problem.skipped, len(source) + 1)
    length = max(1, min(problem.length, len(source) - column + 1))
    start = 0
    if _columns(source[:column]) > _SOURCE_COLUMNS - _BEFORE_CARET:
        start = max(column - 1 - _BEFORE_CARET, 0)
    end = len(source)
    if _columns(source[start:]) > _SOURCE_COLUMNS:
        end = start + _SOURCE_COLUMNS
        while _columns(source[start:end]) > _SOURCE_COLUMNS:
            end -= 1
    before = "…" if start or problem.skipped else ""
    shown = before + source[start:end] + ("…" if end < len(source) else "")
    column += len(before) - start
    return shown, column, max(1, min(length, len(shown) - column + 1))


def _columns(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def _line(kind: str, **content: Any) -> str:
    return json.dumps({"type": kind, **content}, ensure_ascii=False)


def _printable(content: Any) -> Any:
    """The same JSON value with every text in it printable."""
    if isinstance(content, str):
        return printable(content)
    if isinstance(content, Mapping):
        return {name: _printable(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_printable(value) for value in content]
    return content


def _short(commit: str | None) -> str:
    return (commit or "")[:7]


def _tag(release: int | None) -> str | None:
    return None if release is None else f"deploy/{release}"


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)


def counted(number: int, noun: str) -> str:
    """`1 problem`, `2 problems`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
