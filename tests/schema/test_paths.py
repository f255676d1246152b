"""Paths stay inside the repository, handlers can be imported."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from clowdy.schema.paths import HandlerPath, check_handler, check_path, default_handler
from clowdy.schema.rejection import Rejection

FORM = "write FILE:ATTRIBUTE, as in api/users.py:get"


@pytest.mark.parametrize(
    ("text", "path"),
    [(".", "."), ("./", "."), ("api", "api"), ("./api//v1/", "api/v1"), ("a b/c.d", "a b/c.d"), ("...", "...")],
)
def test_a_path_has_one_spelling(text: str, path: str) -> None:
    assert check_path(text, "source") == path


@pytest.mark.parametrize(
    "text",
    ["..", "a/../b", "a/..", "/", "/etc", "//x", "C:/x", "a\\b", "a\nb", "a\0b", "a\u202eb", "a\x7f", "x" * 1001],
)
def test_a_path_that_leads_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(Rejection):
        check_path(text, "source")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("api/users.py:get", HandlerPath("api/users.py", "get")),
        ("./main.py:app", HandlerPath("main.py", "app")),
        ("my-api/get-user.py:handler", HandlerPath("my-api/get-user.py", "handler")),
        ("api/__init__.py:app", HandlerPath("api/__init__.py", "app")),
        ("größe.py:größe", HandlerPath("größe.py", "größe")),
    ],
)
def test_handlers(text: str, path: HandlerPath) -> None:
    assert check_handler(text) == path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "FILE:ATTRIBUTE"),
        (":", "FILE:ATTRIBUTE"),
        ("api/users.py", 'did you mean "api/users.py:handler"?'),
        ("api.users:get", 'did you mean "api/users.py:get"?'),
        ("api.users.get", 'did you mean "api/users.py:get"?'),
        ("api/users:get", 'did you mean "api/users.py:get"?'),
        ("a:b:c", "FILE:ATTRIBUTE"),
        ("a.py:b:c", "FILE:ATTRIBUTE"),
        ("api/users.py:", "FILE:ATTRIBUTE"),
        ("api/users.py:a.b", "FILE:ATTRIBUTE"),
        ("api/users.py:1x", "FILE:ATTRIBUTE"),
        ("api/users.py:class", "FILE:ATTRIBUTE"),
        ("../users.py:get", "leads out"),
        ("/etc/passwd.py:x", "absolute"),
        ("a\\b.py:x", "backslash"),
        ("a\nb.py:x", "control"),
        (".py:x", "cannot be imported"),
        ("api/.py:x", "cannot be imported"),
        ("api.v1/users.py:x", "cannot be imported"),
        (".git/x.py:x", "cannot be imported"),
        ("x.pyc:x", "not a Python file"),
    ],
)
def test_what_is_no_handler(text: str, words: str) -> None:
    with pytest.raises(Rejection) as caught:
        check_handler(text)
    assert words in f"{caught.value.message}: {caught.value.hint}"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("functions/hello:h", 'did you mean "functions/hello.py:h"?'),
        ("functions/hello.h", 'did you mean "functions/hello.py:h"?'),
        ("functions/hello.py.h", 'did you mean "functions/hello.py:h"?'),
        ("functions.hello:h", 'did you mean "functions/hello.py:h"?'),
        ("functions/hello.txt:h", FORM),
        ("functions/hello.txt", FORM),
        ("hello.js:handler", FORM),
        ("hello.pyc:handler", FORM),
        ("functions/v1.2/hello:h", FORM),
        ("../hello:h", FORM),
        ("hello:1st", FORM),
        ("hello:class", FORM),
    ],
)
def test_what_was_meant_is_said_only_where_it_could_be_a_handler(text: str, hint: str) -> None:
    with pytest.raises(Rejection) as caught:
        check_handler(text)
    assert caught.value.hint == hint


def test_a_function_with_a_dash_is_found_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, attribute = default_handler("get-user")
    assert (file, attribute) == ("functions/get-user.py", "handler")
    (tmp_path / "functions").mkdir()
    (tmp_path / file).write_text("def handler(event): return event\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    assert callable(getattr(module, attribute))
