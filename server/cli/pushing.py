"""A `git push` of what is committed, for `deploy` and `plan`, with its output as it comes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

from clowdy.server.cli import credential, workspace
from clowdy.server.cli.failure import Failure
from clowdy.server.cli.target import Target

REMOTE_LINE = "remote: "
_PIECE = 65536


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the one ref that was pushed: git's flag (`!` refused, `=` up to date), and the words."""

    flag: str
    summary: str

    @property
    def reason(self) -> str:
        """The words in brackets: what the server said."""
        return self.summary.partition("(")[2].removesuffix(")")


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
    arguments += ["push", "--porcelain", *(argument for option in options for argument in ("-o", option))]
    arguments += [target.remote or target.git_url, f"HEAD:{ref}"]
    variables = dict(workspace.environment())
    if target.remote is None and target.token is not None:
        # The remote's own URL is not used, so neither is a password in it.
        variables |= {"CLOWDY_TOKEN": target.token, "CLOWDY_URL": target.server}
    try:
        process = subprocess.Popen(arguments, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError:
        raise Failure("git is not installed: install git 2.36 or newer") from None
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        # The table is a few lines: it fits into the pipe while what is said is read to its end.
        _hear(process.stderr, hear)
        table = process.stdout.read().decode(errors="replace")
    return Pushed(process.returncode, _verdict(table, ref))


def deploy_branch(branch: object) -> str:
    """The branch to push to: the project's own, else, before its first push, the one that is checked out."""
    if isinstance(branch, str) and branch:
        return branch
    current = workspace.branch()
    return current if current and current != "live" else "main"


def _hear(stream: IO[bytes], hear: Callable[[str], None]) -> None:
    rest = b""
    while piece := os.read(stream.fileno(), _PIECE):
        *lines, rest = (rest + piece).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            hear(line.decode(errors="replace").rstrip())
    if rest:
        hear(rest.decode(errors="replace").rstrip())


def _verdict(table: str, ref: str) -> Verdict | None:
    for line in table.splitlines():
        fields = line.split("\t")
        if len(fields) == 3 and fields[1].endswith(f":{ref}"):
            return Verdict(fields[0].strip() or " ", fields[2])
    return None
