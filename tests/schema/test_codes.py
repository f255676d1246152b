"""Every code that a problem can have stands in the page that explains them, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tools.make_docs import CODES

ROOT = Path(__file__).resolve().parents[2]
WORD = re.compile(r"[a-z]+(-[a-z]+)*")
PARAMETER = "code"


def test_the_table_has_the_codes_that_are_used_and_no_other() -> None:
    used = used_codes()
    assert {code: place for code, place in used.items() if code not in CODES} == {}
    assert set(CODES) - set(used) == set()


def used_codes() -> dict[str, str]:
    """Each word that is given as a code to what makes a problem, with one place where that is done.

    What makes one: `Problem`, `Rejection`, and every function that hands its parameter `code` on to such.
    """
    modules = [
        (path, ast.parse(path.read_text(encoding="utf-8")))
        for folder in ("schema", "hooks", "server")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    shared = {"Problem", "Rejection"}
    own: dict[Path, set[str]] = {path: set() for path, _ in modules}
    growing = True
    while growing:
        before = len(shared) + sum(map(len, own.values()))
        for path, tree in modules:
            for name in passing_on(tree, shared | own[path]):
                (own[path] if name.startswith("_") else shared).add(name)
        growing = len(shared) + sum(map(len, own.values())) > before
    return {
        word: f"{path.relative_to(ROOT)}:{call.lineno}"
        for path, tree in modules
        for call in calls(tree, shared | own[path])
        for argument in arguments(call)
        for word in words(argument, tree)
        if WORD.fullmatch(word)
    }


def passing_on(tree: ast.AST, makers: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and PARAMETER in {argument.arg for argument in node.args.args}:
            handed = (argument for call in calls(node, makers) for argument in arguments(call))
            if any(isinstance(argument, ast.Name) and argument.id == PARAMETER for argument in handed):
                yield node.name


def calls(tree: ast.AST, names: set[str]) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in names:
                yield node


def arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def words(argument: ast.expr, tree: ast.AST) -> Iterator[str]:
    """The texts that an argument may be: itself, one of several, or what the module gives to its name."""
    named = {part.id for part in ast.walk(argument) if isinstance(part, ast.Name)}
    for value in [argument, *meanings(named, tree)]:
        choices = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
        choices += value.values if isinstance(value, ast.Dict) else []
        yield from (one.value for one in choices if isinstance(one, ast.Constant) and isinstance(one.value, str))


def meanings(names: set[str], tree: ast.AST) -> Iterator[ast.expr]:
    """What the variables of these names are assigned, and what the functions of these names return."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and names & {getattr(target, "id", "") for target in node.targets}:
            yield node.value
        elif isinstance(node, ast.FunctionDef) and node.name in names:
            for part in ast.walk(node):
                if isinstance(part, ast.Return) and part.value is not None:
                    yield from part.value.elts if isinstance(part.value, ast.Tuple) else [part.value]
