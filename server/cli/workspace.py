"""The git repository that the user stands in: what its remotes name, and git run in it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clowdy.server.cli.address import ProjectAddress, project_address
from clowdy.server.cli.failure import Failure

REMOTE = "clowdy"
_GIT_PLACE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a git command ended."""

    code: int
    text: str
    complaint: str

    @property
    def reason(self) -> str:
        """What git said, in one line."""
        lines = [line.removeprefix("fatal: ").removeprefix("error: ") for line in self.complaint.splitlines()]
        return next((line for line in lines if line), f"git ended with {self.code}")


def environment(*, elsewhere: bool = False) -> Mapping[str, str]:
    """What git is started with: its own messages untranslated. `elsewhere`: in another repository than this one."""
    variables = {**os.environ, "LC_ALL": "C"}
    if elsewhere:
        for name in _GIT_PLACE:
            variables.pop(name, None)
    return variables


def no_git(error: OSError) -> Failure:
    """Why git could not be started, for people."""
    if isinstance(error, FileNotFoundError):
        return Failure("git is not installed: install git 2.36 or newer")
    return Failure(f"git cannot be started: {error.strerror or error}")


def attempt(arguments: Sequence[str], *, folder: Path | None = None) -> Outcome:
    """Runs git and gives what came of it, failures too."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=environment(elsewhere=folder is not None),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            errors="surrogateescape",
        )
    except OSError as error:
        raise no_git(error) from None
    return Outcome(done.returncode, done.stdout, done.stderr)


def git(*arguments: str, folder: Path | None = None) -> str:
    """What git printed; raises Failure with git's own words."""
    outcome = attempt(arguments, folder=folder)
    if outcome.code:
        raise Failure(f"git {arguments[0]}: {outcome.reason}")
    return outcome.text


def top() -> Path | None:
    """The top folder of the repository that the user stands in, or None."""
    outcome = attempt(["rev-parse", "--show-toplevel"])
    return Path(outcome.text.removesuffix("\n")) if outcome.code == 0 else None


def require_repository() -> None:
    """Raises Failure outside of a repository, and where git will not work in this one."""
    outcome = attempt(["rev-parse", "--git-dir"])
    if outcome.code == 0:
        return
    if "not a git repository" in outcome.complaint:
        raise Failure("not in a git repository: go into one, or start with clowdy init NAME")
    raise Failure(f"git cannot work here: {outcome.reason}", details=outcome.complaint.splitlines()[1:])


def remote_url(name: str) -> str | None:
    """The URL of a remote, after git's own rewriting, or None."""
    outcome = attempt(["remote", "get-url", "--", name])
    return outcome.text.strip() if outcome.code == 0 else None


def remote_project(name: str) -> ProjectAddress | None:
    """The project that a remote of this repository names, or None."""
    url = remote_url(name)
    return project_address(url) if url else None


def remotes() -> dict[str, ProjectAddress | None]:
    """Every remote of this repository with the project it names, None where it is something else."""
    outcome = attempt(["remote"])
    return {name: remote_project(name) for name in outcome.text.split("\n") if name} if outcome.code == 0 else {}


def setting(name: str, *, folder: Path | None = None) -> str | None:
    """A value of git's configuration, or None."""
    outcome = attempt(["config", "--get", name], folder=folder)
    return outcome.text.removesuffix("\n") if outcome.code == 0 else None


def uncommitted() -> list[str]:
    """The paths whose state on disk is not what HEAD says, untracked ones too."""
    outcome = attempt(["status", "--porcelain", "-z", "--untracked-files=normal"])
    entries = iter(outcome.text.split("\0"))
    paths = []
    for entry in entries:
        if len(entry) > 3:
            paths.append(entry[3:])
            if entry[0] in "RC":
                next(entries, None)
    return paths


def head() -> str:
    """The commit that HEAD names; raises Failure in a repository without one."""
    outcome = attempt(["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])
    if outcome.code:
        require_repository()
        raise Failure("nothing is committed yet: git add -A && git commit")
    return outcome.text.strip()


def branch() -> str | None:
    """The branch that is checked out, or None."""
    outcome = attempt(["symbolic-ref", "--quiet", "--short", "HEAD"])
    return outcome.text.strip() if outcome.code == 0 else None
