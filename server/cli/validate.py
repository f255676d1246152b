"""`clowdy validate`: what a push would refuse, found on this machine and said in the same words."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clowdy.server.cli import workspace
from clowdy.server.cli.failure import Failure
from clowdy.server.cli.output import note, say, say_json, short
from clowdy.server.cli.target import json_option, named_here, project_options

if TYPE_CHECKING:
    from clowdy.hooks.check import Judgement

_ONLY_BY_STARTING = "that the functions start, and their checks"


@click.command("validate")
@click.option("--worktree", is_flag=True, help="Judge what is on disk, committed or not.")
@project_options
@json_option
def command(worktree: bool, project: str | None, remote: str | None, as_json: bool) -> None:
    """Judge what is committed (HEAD) in the words of a push, without a server.

    What only the server knows is named and not judged. Exits 1 when there are problems.
    """
    from clowdy.hooks.report import counted

    judgement, what = _judge(named_here(project, remote), worktree=worktree)
    unchecked = [*judgement.unchecked, _ONLY_BY_STARTING] if judgement.manifest else []
    if as_json:
        _say_lines(judgement, as_json=True)
        say_json(
            {"type": "done", "ok": not judgement.problems, "problems": len(judgement.problems), "unchecked": unchecked}
        )
    else:
        _say_lines(judgement, as_json=False)
        if not judgement.problems and judgement.manifest is not None:
            functions, routes = len(judgement.manifest.functions), len(judgement.manifest.routes)
            say(f"{what} is right: {counted(functions, 'function')}, {counted(routes, 'route')}.")
        if unchecked:
            note(f"not checked here: {'; '.join(unchecked)}")
    if judgement.problems:
        raise Failure(f"{what} has {counted(len(judgement.problems), 'problem')}: a push of it is refused")


def _judge(project: str | None, *, worktree: bool) -> tuple[Judgement, str]:
    from clowdy.hooks.check import judge_now
    from clowdy.hooks.local import CommitTree, FolderTree, NoTree
    from clowdy.hooks.syntax import SyntaxUnavailable

    folder = workspace.top() or Path.cwd()
    try:
        with ExitStack() as stack:
            if worktree:
                return judge_now(FolderTree(folder), project=project), "what is on disk"
            commit = workspace.head()
            tree = stack.enter_context(CommitTree(folder, commit))
            return judge_now(tree, project=project), f"commit {short(commit)}"
    except (NoTree, SyntaxUnavailable) as error:
        raise Failure(str(error)) from None


def _say_lines(judgement: Judgement, *, as_json: bool) -> None:
    from clowdy.hooks.report import Reporter

    # The push's last line says what stays live, which is not known here.
    for line in Reporter(as_json=as_json).problems(judgement.problems, None)[:-1]:
        click.echo(line)
