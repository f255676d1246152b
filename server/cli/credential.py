"""`clowdy credential`: git's credential helper, so that no token stands in a repository's configuration.

git asks with `key=value` lines on standard input. What it is given comes from CLOWDY_TOKEN or from the kept tokens.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from clowdy.schema import names
from clowdy.schema.text import printable
from clowdy.server.cli import accounts, address
from clowdy.server.cli.failure import Failure

USER = "clowdy"
_USAGE = "clowdy: credential is for git: clowdy credential get|store|erase\n"


def run(arguments: Sequence[str]) -> int:
    """Answers git; the exit code. An operation that is not known is ignored, as git asks of helpers."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write(_USAGE)
        return 2
    # What git passes on is bytes, whatever the locale says.
    question = _question(sys.stdin.buffer.read().decode(errors="surrogateescape"))
    try:
        if arguments[0] == "get":
            sys.stdout.buffer.write(_get(question).encode(errors="surrogateescape"))
        elif arguments[0] == "store":
            _store(question)
        elif arguments[0] == "erase":
            _erase(question)
    except Failure as failure:
        # git goes on to ask its user; the reason stands above the question.
        sys.stderr.write(f"clowdy: {printable(failure.message)}\n")
        return 1
    return 0


def settings(server: str) -> list[tuple[str, str]]:
    """What git must be told, in this order, to ask this helper and no other about `server`.

    The empty value drops helpers that are inherited, which would otherwise be asked first and keep the token.
    """
    return [
        (f"credential.{server}.helper", ""),
        (f"credential.{server}.helper", f"!{command()} credential"),
        # Two servers may share a host below different paths.
        (f"credential.{server}.useHttpPath", "true"),
    ]


def command() -> str:
    """The command line of this very installation, for a shell."""
    script = Path(sys.executable).with_name("clowdy")
    if script.is_file():
        return shlex.quote(str(script))
    # -P: the folder that git runs helpers in is a stranger's and must not be imported from.
    return f"{shlex.quote(sys.executable)} -P -m clowdy.server.cli.main"


def _question(text: str) -> Mapping[str, str]:
    pairs = (line.partition("=") for line in text.split("\n") if "=" in line)
    return {key: value for key, _, value in pairs}


def _get(question: Mapping[str, str]) -> str:
    server = _server(question)
    if server is None:
        return ""
    token = _from_environment(server) or accounts.load().token(server)
    if token is None:
        raise Failure(f"no token for {server}: run clowdy login {server}")
    if not names.is_token(token):
        raise Failure(f"the token for {server} is broken: run clowdy login {server}")
    return f"username={question.get('username') or USER}\npassword={token}\n"


def _store(question: Mapping[str, str]) -> None:
    server, token = _server(question), question.get("password")
    if server is not None and token and names.is_token(token) and token != _from_environment(server):
        accounts.remember_from_git(server, token)


def _erase(question: Mapping[str, str]) -> None:
    server, token = _server(question), question.get("password")
    if server is None or not token or accounts.forget_from_git(server, token):
        return
    if token == _from_environment(server):
        raise Failure(f"{server} refused the token in CLOWDY_TOKEN")
    if token == accounts.load().token(server):
        # It may be the only copy, and the refusal that of another server at the same address.
        raise Failure(f"{server} refused the token that is kept for it: run clowdy login {server}")


def _server(question: Mapping[str, str]) -> str | None:
    """The server that git talks to: the address before `/git/`, or the host alone where git names no path."""
    url = f"{question.get('protocol', '')}://{question.get('host', '')}"
    path = question.get("path")
    if path:
        prefix, marker, _ = f"/{path}".rpartition("/git/")
        if not marker:
            return None
        url += prefix
    try:
        return address.normal(url)
    except ValueError:
        return None


def _from_environment(server: str) -> str | None:
    token, url = os.environ.get("CLOWDY_TOKEN", "").strip(), os.environ.get("CLOWDY_URL")
    if not token:
        return None
    try:
        return token if not url or address.normal(url) == server else None
    except ValueError:
        return None
