"""What a push says while it works: values in, lines of its log out, secret values taken out on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clowdy.hooks.plan import Plan
from clowdy.hooks.report import Reporter, Switched
from clowdy.schema.problems import Problem
from clowdy.server.releases.log import DROPPED, PushLog

OUTPUT_BYTES = 256 * 1024


class Voice:
    """The lines of one push, in the form that the pusher asked for."""

    def __init__(self, log: PushLog, *, as_json: bool, redact: Callable[[str], str]) -> None:
        self._log = log
        self._reporter = Reporter(as_json=as_json)
        self._redact = redact
        self._output_left = OUTPUT_BYTES
        self._ending: list[str] = []

    def progress(self, text: str) -> None:
        """Something is happening."""
        self._say(self._reporter.progress(text))

    def output(self, source: str, text: str) -> None:
        """What a function printed, cut so that the last words of the push always fit."""
        text = text.rstrip()
        if self._output_left <= 0 or not text:
            return
        if len(text) > self._output_left:
            text = f"{text[: self._output_left]}\n(more output was dropped)"
        self._output_left -= len(text)
        self._say(self._reporter.output(source, text))

    def plan(self, plan: Plan) -> None:
        """What is about to change."""
        self._say(self._reporter.plan(plan))

    def planned(self) -> None:
        """The push only plans."""
        self._ending = self._reporter.planned()

    def problems(self, problems: Sequence[Problem], live: int | None) -> None:
        """Every problem, and what serves on."""
        *lines, last = self._reporter.problems(problems, live)
        self._say(lines)
        self._ending = [last]

    def warnings(self, branch: str, problems: Sequence[Problem]) -> None:
        """Problems of a branch that is only stored."""
        self._say(self._reporter.warnings(branch, problems))

    def refused(self, reason: str, live: int | None) -> None:
        """The push ends without a problem in a file."""
        self._ending = self._reporter.refused(reason, live)

    def switched(self, switched: Switched, urls: Sequence[str], seconds: float) -> None:
        """Something went live: the switch with its time, the URLs, the way back."""
        self._say(self._reporter.switched(switched))
        self._ending = self._reporter.done(switched, urls, seconds)

    def end(self, text: str, live: int | None, *, ok: bool) -> None:
        """Says the last word: that of what happened above, else `text`. Nothing comes after it."""
        for line in self._ending or self._reporter.ended(text, live, ok=ok):
            self._log.append(self._redact(line), last=True)

    def _say(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._log.append(self._redact(line))


def dropped(*, as_json: bool) -> str:
    """What stands in a push's output for what it has no room for."""
    return Reporter(as_json=as_json).progress(DROPPED)[0]
