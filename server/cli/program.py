"""The tree of verbs, loaded as far as a call needs it, and what is said when a call cannot be understood."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import click

from clowdy.schema.text import printable
from clowdy.server.cli.failure import NOT_BUILT, Failure, Misuse

# Verb: what it does. Each lives in the module of its name, as `command`.
VERBS = {
    "serve": "Run the server.",
    "doctor": "Check what this machine has and lacks.",
    "login": "Sign in to a server.",
    "token": "Make, list and revoke tokens.",
    "project": "List, show, rename, delete and restore projects.",
    "init": "Start a new project in a new folder.",
    "link": "Connect this repository with a project.",
    "validate": "Judge what is committed, as a push would.",
    "plan": "Show what a deploy would change.",
    "deploy": "Push what is committed and make it live.",
    "cancel": "Stop a push that is being built.",
    "logs": "Show calls and what they printed.",
    "invoke": "Call a function.",
    "releases": "List releases, or show one.",
    "rollback": "Go back to an earlier release.",
    "secret": "Set, list and remove secrets.",
    "reconcile": "Rebuild a server's records from git.",
}
LATER = frozenset({"user", "dev", "env", "open", "backup", "restore"})


class Verbs(click.Group):
    """A group whose unknown verbs are answered with the nearest known one. `later` are not built yet."""

    def __init__(self, *arguments: Any, later: frozenset[str] = frozenset(), **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.later = later

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that `args` begins with."""
        verb = args[0]
        path = " ".join([*ctx.command_path.split()[1:], verb])
        if verb in self.later:
            raise Misuse(f"{path}: {NOT_BUILT}")
        command = self.get_command(ctx, verb)
        if command is None:
            raise Misuse(f"no verb {printable(path, 60)!r}{self._nearest(ctx, verb)}; see {ctx.command_path} --help")
        return verb, command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the verbs and what they do, to the end of the sentence."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Verbs"):
            formatter.write_dl([(name, command.get_short_help_str(200)) for name, command in commands if command])

    def _nearest(self, ctx: click.Context, verb: str) -> str:
        near = difflib.get_close_matches(verb, self.list_commands(ctx), n=1, cutoff=0.5)
        return f": did you mean {near[0]!r}?" if near else ""


class LazyVerbs(Verbs):
    """A group that imports a verb when it is called, and none for its own help."""

    def __init__(self, *arguments: Any, verbs: Mapping[str, str], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every verb, in the order of their use."""
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb, imported."""
        if cmd_name not in self.verbs:
            return None
        command: click.Command = importlib.import_module(f"clowdy.server.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the verbs and what they do."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(self.verbs.items()))


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"clowdy {version('clowdy')}")
        ctx.exit()


@click.group(
    cls=LazyVerbs,
    verbs=VERBS,
    later=LATER,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="The project is the one that the git remote `clowdy` names. `clowdy VERB --help` says more.",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Say which.")
def program() -> None:
    """Deploy Python functions with git push."""


def run(arguments: Sequence[str]) -> int:
    """Runs one verb; the exit code."""
    try:
        result = program.main(args=list(arguments), prog_name="clowdy", standalone_mode=False)
    except Failure as failure:
        _complain(failure.message, failure.details)
        return failure.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else error.format_message())
        return 2
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "clowdy"
        _complain(f"{_sentence(error.format_message())}; see {path} --help")
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo(err=True)
        return 1
    except click.ClickException as error:
        _complain(_sentence(error.format_message()))
        return error.exit_code
    return result if isinstance(result, int) else 0


def _complain(message: str, details: Sequence[str] = ()) -> None:
    click.echo(f"clowdy: {printable(message)}", err=True)
    for detail in details:
        click.echo(printable(detail), err=True)


def _sentence(message: str) -> str:
    text = " ".join(message.split()).rstrip(".")
    return text[:1].lower() + text[1:]
