"""What a push says while it works: values in, lines of its log out, secret values taken out on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clowdy.hooks.plan import Plan
from clowdy.hooks.report import Reporter, Switched
from clowdy.schema.problems import Problem
from clowdy.server.releases.log import PushLog

OUTPUT_BYTES = 256 * 1024


class Voice:
    """The lines of one push, in the form that the pusher asked for."""

    def __init__(self, log: PushLog, *, as_json: bool, redact: Callable[[str], str]) -> None:
        self._log = log
        self._reporter = Reporter(as_json=as_json)
        self._redact = redact
        self._output_left = OUTPUT_BYTES

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
        """The last word of a push that only plans."""
        self._say(self._reporter.planned())

    def problems(self, problems: Sequence[Problem], live: int | None) -> None:
        """Every problem, and what serves on."""
        self._say(self._reporter.problems(problems, live))

    def warnings(self, branch: str, problems: Sequence[Problem]) -> None:
        """Problems of a branch that is only stored."""
        self._say(self._reporter.warnings(branch, problems))

    def refused(self, reason: str, live: int | None) -> None:
        """The push ends without a problem in a file."""
        self._say(self._reporter.refused(reason, live))

    def switched(self, switched: Switched, urls: Sequence[str], seconds: float) -> None:
        """Something went live: the switch with its time, the URLs, the way back."""
        self._say(self._reporter.switched(switched))
        self._say(self._reporter.done(switched, urls, seconds))

    def _say(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._log.append(self._redact(line))
