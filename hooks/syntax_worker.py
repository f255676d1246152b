"""What one Python or TOML file contains, found in a process of its own: hostile text can eat any amount of memory.

Started by path with the Python that will run the functions, `-I -S`, so it imports the standard library alone and
nothing of Clowdy. Frames both ways are a length of four bytes, big-endian, and so many bytes. It first says which
Python it is; then each frame is one letter (P: Python, T: TOML) and one file's content, answered by one frame of
JSON. It ends when its input ends.
"""

from __future__ import annotations

import ast
import codecs
import gc
import json
import os
import re
import resource
import signal
import sys
import tomllib
import warnings
from typing import Any

MEMORY_BYTES = 256 * 1024 * 1024
FILE_SECONDS = 12
NAMES = 200_000
PARAMETERS = 3
DEEPEST = 32
"""How deep the tables and lists of a TOML file may be nested."""
HASHED = frozenset(("hash", "hashes"))
"""What a lock's entry of a file has."""

_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_BLANK = re.compile(rb"^[ \t\f]*(?:[#\r\n]|$)")
_LINE_END = re.compile("\r\n|\r|\n")
_AT = re.compile(r" \(at line (\d+), column (\d+)\)\Z")
_DYNAMIC_CALLS = frozenset(("globals", "locals", "vars", "exec"))


class Bad(Exception):
    """The file cannot be Python; carries the answer."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__()
        self.answer = answer


def examine(content: bytes) -> dict[str, Any]:
    """The answer for one file: its names, or its problem."""
    try:
        text = decode(content)
        check(content, text)
        return names_of(ast.parse(content, "<file>"))
    except Bad as bad:
        return bad.answer
    except (RecursionError, MemoryError):
        return {"too_much": True}


def decode(content: bytes) -> str:
    """The text as Python's own reader would see it: byte order mark, PEP 263, else UTF-8."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Bad(problem(1, 1, "the file is UTF-16: save it as UTF-8"))
    if b"\0" in content:
        before = content[: content.index(b"\0")].removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
        lines = split(before)
        found = "the file has a NUL byte"
        raise Bad(problem(len(lines), len(lines[-1]) + 1, found, line_of(content, len(lines))))
    encoding, line = declared(content)
    if encoding is None:
        encoding = "utf-8"
    try:
        codec = codecs.lookup(encoding)
        if not codec._is_text_encoding:
            raise LookupError
        text, _ = codec.decode(content.removeprefix(codecs.BOM_UTF8), "strict")
    except LookupError:
        raise Bad(problem(line, 1, f"unknown encoding: {encoding}", line_of(content, line))) from None
    except UnicodeDecodeError as error:
        start = content.removeprefix(codecs.BOM_UTF8)[: error.start]
        lines = split(start.decode(encoding, "replace"))
        found = f"byte 0x{error.object[error.start]:02x}"
        raise Bad(
            problem(len(lines), len(lines[-1]) + 1, f"{found} is not {encoding}", line_of(content, len(lines)))
        ) from None
    except (UnicodeError, ValueError) as error:
        raise Bad(problem(1, 1, f"the file is not {encoding}: {error}")) from None
    return str(text)


def declared(content: bytes) -> tuple[str | None, int]:
    """The encoding that one of the first two lines names, and that line's number."""
    lines = re.split(rb"\r\n|\r|\n", content.removeprefix(codecs.BOM_UTF8)[:8192], maxsplit=2)[:2]
    for number, line in enumerate(lines, start=1):
        found = _COOKIE.match(line)
        if found:
            return found[1].decode("ascii", "replace"), number
        if not _BLANK.match(line):
            break
    return None, 1


def check(content: bytes, text: str) -> None:
    """Compiles `content`; raises Bad at the first syntax error."""
    try:
        compile(content, "<file>", "exec", dont_inherit=True)
    except SyntaxError as error:
        lines = split(text)
        number = min(max(error.lineno or 1, 1), len(lines))
        source = lines[number - 1]
        column = max(error.offset or 1, 1)
        length = 1
        if error.end_lineno == error.lineno and error.end_offset and error.end_offset > column:
            length = error.end_offset - column
        if parses(content):
            # What the parser accepts and the compiler refuses is placed by it in bytes.
            prefix = source.encode("utf-8", "surrogatepass")
            end = len(prefix[: column - 1 + length].decode("utf-8", "replace"))
            column = len(prefix[: column - 1].decode("utf-8", "replace")) + 1
            length = max(end - column + 1, 1)
        raise Bad(problem(number, min(column, len(source) + 1), error.msg, source, length)) from None
    except ValueError as error:
        raise Bad(problem(1, 1, str(error).partition(" - ")[0])) from None


def parses(content: bytes) -> bool:
    """Whether the grammar alone accepts `content`."""
    try:
        ast.parse(content, "<file>")
    except SyntaxError:
        return False
    return True


def names_of(tree: ast.Module) -> dict[str, Any]:
    """Every name that the module can bind, those of its functions and classes first in `defined`.

    In `plain` are those that can be nothing else than one function, without `async`, decorators and `*args`.
    """
    names: dict[str, int] = {}
    defined: dict[str, None] = {}
    plain: dict[str, ast.FunctionDef] = {}
    replaced = False
    dynamic = False
    waiting: list[tuple[ast.AST, bool]] = [(tree, True)]
    while waiting:
        node, top = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if top:
                count(names, node.name)
                defined[node.name] = None
                if isinstance(node, ast.FunctionDef) and not node.decorator_list and node.args.vararg is None:
                    plain[node.name] = node
                dynamic = dynamic or node.name == "__getattr__"
            waiting.extend((outer, top) for outer in (*node.decorator_list, *outer_expressions(node)))
            waiting.extend((child, False) for child in reversed(node.body))
            continue
        if isinstance(node, ast.Lambda):
            waiting.append((node.args, top))
            waiting.append((node.body, False))
            continue
        if isinstance(node, ast.Global):
            for name in node.names:
                count(names, name)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _DYNAMIC_CALLS:
            dynamic = True
        elif "modules" in (getattr(node, "attr", None), getattr(node, "name", None)):
            # What stands in `sys.modules` can be changed under any name, and be another in the end.
            replaced = True
        elif top and isinstance(node, ast.AnnAssign) and node.value is None:
            continue
        elif isinstance(node, ast.comprehension):
            # Its target lives in the comprehension; a walrus in its conditions does not.
            waiting.extend((child, top) for child in (node.iter, *node.ifs))
            continue
        elif top:
            dynamic = bind(node, names) or dynamic
        # Reversed, so that the stack gives them in the order of the file.
        waiting.extend((child, top) for child in reversed(list(ast.iter_child_nodes(node))))
    certain = [] if dynamic or replaced else [name for name in plain if names[name] == 1][:NAMES]
    return {
        "names": list(names)[:NAMES],
        "defined": list(defined)[:NAMES],
        "dynamic": dynamic,
        "plain": {name: signature(plain[name]) for name in certain},
    }


def signature(node: ast.FunctionDef) -> dict[str, Any]:
    """As much of a function as tells a handler from an application."""
    parameters = [each.arg for each in (*node.args.posonlyargs, *node.args.args)]
    return {"parameters": parameters[:PARAMETERS], "generator": yields(node)}


def yields(function: ast.FunctionDef) -> bool:
    """Whether a call of `function` is a generator: a `yield` that belongs to no other function within it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Yield, ast.YieldFrom)):
            return True
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            waiting += [*node.decorator_list, *outer_expressions(node)]
        elif isinstance(node, ast.Lambda):
            waiting.append(node.args)
        else:
            waiting += ast.iter_child_nodes(node)
    return False


def count(names: dict[str, int], name: str) -> None:
    """One more place that binds `name`."""
    names[name] = names.get(name, 0) + 1


def outer_expressions(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> list[ast.AST]:
    """What a definition evaluates in the scope around it."""
    if isinstance(node, ast.ClassDef):
        return [*node.bases, *node.keywords]
    return [node.args, *([node.returns] if node.returns else [])]


def bind(node: ast.AST, names: dict[str, int]) -> bool:
    """Adds what `node` itself binds; True when it may bind names that cannot be told."""
    if isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Store):
            count(names, node.id)
    elif isinstance(node, ast.Import):
        for alias in node.names:
            count(names, alias.asname or alias.name.partition(".")[0])
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            if alias.name == "*":
                return True
            count(names, alias.asname or alias.name)
    elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        if node.name:
            count(names, node.name)
    elif isinstance(node, ast.MatchMapping) and node.rest:
        count(names, node.rest)
    return False


def tabulate(content: bytes) -> dict[str, Any]:
    """The answer for one TOML file: its values, or its problem."""
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        lines = split(error.object[: error.start].decode("utf-8", "replace"))
        found = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        return problem(len(lines), len(lines[-1]) + 1, found, line_of(content, len(lines)))
    try:
        return {"table": plain(tomllib.loads(text), DEEPEST)}
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = _AT.search(message)
        lines = text.split("\n")
        number, column = (int(place[1]), int(place[2])) if place else (len(lines), len(lines[-1]) + 1)
        message = message[: place.start()] if place else message.removesuffix(" (at end of document)")
        return problem(number, column, f"not valid TOML: {message}", lines[number - 1].rstrip("\r"))
    except (RecursionError, MemoryError):
        return {"too_much": True}
    except ValueError as error:
        # A number of thousands of digits, or what `plain` refuses.
        return problem(1, 1, f"not valid TOML: {error}")


def plain(value: Any, depth: int) -> Any:
    """`value` as JSON has it, of the files that a lock lists only what `kept` takes: the rest is most of it."""
    if depth == 0:
        raise ValueError(f"nested more than {DEEPEST} deep")
    if isinstance(value, dict):
        return {
            key: kept(each, depth - 1) if key in ("sdist", "wheels") else plain(each, depth - 1)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [plain(each, depth - 1) for each in value]
    if isinstance(value, int) and abs(value) >= 2**63:
        # TOML's own limit, which `tomllib` does not keep.
        raise ValueError("a number has more than 64 bits")
    return value if isinstance(value, (str, bool, int, float)) else str(value)


def kept(value: Any, depth: int) -> Any:
    """Of one file, or of each of a list of files, the hashes, and where it lies when that is not on the web."""
    if isinstance(value, list):
        return [kept(each, depth) for each in value]
    if not isinstance(value, dict):
        return None
    if not HASHED & value.keys():
        # What is only called like files of a lock, such as a package.
        return plain(value, depth)
    on_the_web = str(value.get("url", "")).startswith(("https://", "http://"))
    keys = HASHED if on_the_web else (*HASHED, "url", "path")
    return {key: plain(value[key], depth) for key in keys if key in value}


def problem(line: int, column: int, message: str, source: str | None = None, length: int = 1) -> dict[str, Any]:
    """The answer for a file with a problem at one place; `source` is its line, None where the whole file is meant."""
    return {
        "line": line,
        "column": column,
        "message": message[:500],
        "source": source,
        "length": length,
    }


def split(text: str) -> list[str]:
    """The lines as Python counts them: str.splitlines would also split at form feeds and U+2028."""
    return _LINE_END.split(text)


def line_of(content: bytes, number: int) -> str:
    """One line of a file whose encoding is not to be trusted."""
    lines = split(content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace"))
    return lines[number - 1] if number <= len(lines) else ""


def read_exactly(stream: Any, size: int) -> bytes | None:
    """`size` bytes, or None when the input ends before."""
    content: bytes = stream.read(size)
    return content if len(content) == size else None


EXAMINE = {b"P": examine, b"T": tabulate}


def main() -> None:
    """Answers until the input ends, under limits that nothing in a file can raise."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    warnings.simplefilter("ignore")
    os.chdir("/")
    source, answers = sys.stdin.buffer, sys.stdout.buffer

    def answer(content: dict[str, Any]) -> None:
        frame = json.dumps(content).encode("ascii")
        answers.write(len(frame).to_bytes(4, "big") + frame)
        answers.flush()

    answer({"python": ".".join(map(str, sys.version_info[:3]))})
    while (header := read_exactly(source, 4)) is not None:
        content = read_exactly(source, int.from_bytes(header, "big"))
        if content is None:
            return
        # A parse that nobody waits for any more, because the server is gone, ends by this alarm's default action.
        signal.alarm(FILE_SECONDS)
        result = EXAMINE[content[:1]](content[1:])
        answer(result)
        signal.alarm(0)
        if "too_much" in result:
            return
        del content, result
        gc.collect()


if __name__ == "__main__":
    main()
