"""A `git push` of what is committed, for `deploy` and `plan`, with its output as it comes."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from clowdy.server.cli import credential, workspace
from clowdy.server.cli.target import Target

REMOTE_LINE = "remote: "
_PIECE = 65536
# A row of git's own table: flag, what happened, from, to, and why. Lines of the server begin with `remote:`.
_ROW = re.compile(r" (?P<flag>[ *+!=-]) (?P<summary>\[[^]]+\]|\S+) +\S+ -> (?P<to>\S+)(?: \((?P<reason>.*)\))?")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the ref that was pushed: git's flag (`!` refused, `=` up to date), its words and the reason."""

    flag: str
    summary: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Pushed:
    """How a push ended; `verdict` is None when git did not get as far as the ref."""

    code: int
    verdict: Verdict | None


def push(target: Target, ref: str, options: Sequence[str], hear: Callable[[str], None]) -> Pushed:
    """Pushes HEAD to `ref` and hands over each line that git and the server say, without its end."""
    arguments = ["git"]
    for name, value in credential.settings(target.server):
        arguments += ["-c", f"{name}={value}"]
    arguments += ["push", *(argument for option in options for argument in ("-o", option))]
    arguments += [target.remote or target.git_url, f"HEAD:{ref}"]
    variables = dict(workspace.environment())
    if target.remote is None and target.token is not None:
        # The remote's own URL is not used, so neither is a password in it.
        variables |= {"CLOWDY_TOKEN": target.token, "CLOWDY_URL": target.server}
    verdict: Verdict | None = None
    try:
        process = subprocess.Popen(
            arguments, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise workspace.no_git(error) from None
    assert process.stderr is not None
    with process:
        for line in _lines(process.stderr):
            verdict = verdict or _verdict(line, ref)
            hear(line)
    return Pushed(process.returncode, verdict)


def deploy_branch(branch: object) -> str:
    """The branch to push to: the project's own, else, before its first push, the one that is checked out."""
    if isinstance(branch, str) and branch:
        return branch
    current = workspace.branch()
    return current if current and current != "live" else "main"


def _lines(stream: IO[bytes]) -> Iterator[str]:
    rest = b""
    while piece := os.read(stream.fileno(), _PIECE):
        *lines, rest = (rest + piece).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            yield line.decode(errors="replace").rstrip()
    if rest:
        yield rest.decode(errors="replace").rstrip()


def _verdict(line: str, ref: str) -> Verdict | None:
    if line == "Everything up-to-date":
        return Verdict("=", "[up to date]")
    row = _ROW.fullmatch(line)
    if row is None or row["to"] != ref.removeprefix("refs/heads/"):
        return None
    return Verdict(row["flag"], row["summary"], row["reason"] or "")
