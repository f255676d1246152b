"""Paths and handlers as a manifest names them: inside the repository, and importable."""

from __future__ import annotations

import keyword
from typing import NamedTuple

from clowdy.schema.rejection import Rejection
from clowdy.schema.text import printable, quoted

DEFAULT_ATTRIBUTE = "handler"
_LONGEST = 1000
_OTHER_FILES = ("html", "ipynb", "js", "json", "md", "mjs", "pyc", "pyi", "sh", "ts", "txt", "yaml", "yml", "toml")
_FORM = "write FILE:ATTRIBUTE, as in api/users.py:get"


class HandlerPath(NamedTuple):
    """`file` relative to the first source, `attribute` in its module."""

    file: str
    attribute: str


def default_handler(function: str) -> HandlerPath:
    """Where a function is looked for that names no handler: its name as it is written, `-` included."""
    return HandlerPath(f"functions/{function}.py", DEFAULT_ATTRIBUTE)


def check_path(text: str, code: str) -> str:
    """The relative path in its one spelling (`./a//b/` is `a/b`, `.` the top); raises Rejection for any other path."""
    if printable(text) != text or "\\" in text or len(text) > _LONGEST:
        raise Rejection(
            code,
            f"{quoted(text)} is not a path: it has a backslash or a control character or is too long",
            "write a relative path with /",
        )
    if text.startswith("/") or text[1:3] == ":/":
        raise Rejection(code, f"{quoted(text)} is an absolute path", "write it relative to the top of the repository")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Rejection(code, f"{quoted(text)} leads out of its folder", "write a path without ..")
    return "/".join(parts) or "."


def check_handler(text: str) -> HandlerPath:
    """File and attribute of `api/users.py:get`; raises Rejection."""
    file, colon, attribute = text.rpartition(":")
    if not colon:
        raise Rejection("handler", f"handler {quoted(text)} names no attribute", _meant(text))
    if not file.endswith(".py") or ":" in file:
        raise Rejection("handler", f"{quoted(file)} is not a Python file", _meant(text))
    if not attribute.isidentifier() or keyword.iskeyword(attribute):
        raise Rejection("handler", f"{quoted(attribute)} is not the name of something in a module", _FORM)
    path = check_path(file, "handler")
    unimportable = next((part for part in path.removesuffix(".py").split("/") if not part or "." in part), None)
    if unimportable is not None:
        raise Rejection(
            "handler",
            f"{quoted(file)} cannot be imported: {quoted(unimportable)} has a dot or no name",
            "rename it: a dot separates modules",
        )
    return HandlerPath(path, attribute)


def _meant(text: str) -> str:
    """What `api/users.py`, `api.users:get` and `api.users.get` were probably meant to say."""
    module, _, attribute = text.partition(":")
    if ":" in attribute or module.rpartition(".")[2] in _OTHER_FILES:
        return _FORM
    if not attribute and not module.endswith(".py"):
        module, _, attribute = module.rpartition(".")
    if not module.endswith(".py"):
        # Dots separate modules only where slashes do not separate folders.
        module = (module if "/" in module else module.replace(".", "/")) + ".py"
    meant = f"{module}:{attribute or DEFAULT_ATTRIBUTE}"
    try:
        check_handler(meant)
    except Rejection:
        return _FORM
    return f"did you mean {quoted(meant)}?"
