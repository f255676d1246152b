"""From a START frame to a handler: environment, import path, import, and what the handler turned out to be."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_GENERATOR, _COROUTINE, _ASYNC_GENERATOR, _VARIADIC = 0x20, 0x80 | 0x100, 0x200, 0x04


_ASGI, _WSGI = "ASGI application", "WSGI application"
_APPLICATIONS = {
    _ASGI: ("scope", "receive", "send"),
    _WSGI: ("environ", "start_response"),
}
_ARTICLES = {_ASGI: "An", _WSGI: "A"}


class LoadError(Exception):
    """A handler that cannot be had; `reason` is one of the server's start reasons."""

    def __init__(self, reason: str, text: str, module: str | None = None) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.module = module


class Function:
    """A handler, ready to be called. `application` has what an ASGI application needs besides."""

    __slots__ = ("application", "arguments", "call", "shape")

    def __init__(self, call: Callable[..., Any], shape: str, arguments: int) -> None:
        self.call = call
        self.shape = shape
        self.arguments = arguments
        self.application: Any = None


def prepare(start: dict[str, Any]) -> None:
    """Environment, working directory and import path, as the function is to find them."""
    os.environ.clear()
    os.environ.update(start["env"])
    time.tzset()
    app = start["app"]
    os.chdir(app)
    paths = []
    for folder in (start["sources"][0], "."):
        path = app if folder == "." else f"{app}/{folder}"
        if path not in paths:
            paths.append(path)
    sys.path[:0] = paths
    if start["packages"]:
        # Where site-packages stand for any Python: a backport must not take the place of the standard library's own.
        sys.path.append(start["packages"])
    _forget_shadowed(paths)
    sys.argv = [""]


def load(app: str, source: str, file: str, attribute: str, kind: str) -> Function:
    """Imports `file`, relative to `source`, and finds `attribute` in it; raises LoadError."""
    path = f"{app}/{file}" if source == "." else f"{app}/{source}/{file}"
    try:
        module = _import(path, file)
    except MemoryError:
        raise LoadError("out of memory", "Failed to load function: out of memory") from None
    except ModuleNotFoundError as error:
        raise LoadError("missing module", f"Failed to load function: {trace(error)}", error.name) from None
    except BaseException as error:  # noqa: BLE001  (SystemExit too: the author must see where it came from)
        raise LoadError("exception", f"Failed to load function: {trace(error)}") from None
    try:
        value = getattr(module, attribute)
    except AttributeError:
        raise LoadError(
            "missing attribute", f"Function must define a {attribute}(input) function: {file} has none"
        ) from None
    except BaseException as error:  # noqa: BLE001  (a module's __getattr__ may do anything)
        raise LoadError("exception", f"Failed to load function: {trace(error)}") from None
    if not callable(value):
        raise LoadError(
            "not callable",
            f"Function must define a {attribute}(input) function: in {file} it is {type(value).__name__}",
        )
    return recognise(value, kind)


def _import(path: str, file: str) -> Any:
    name = file[:-3] if file.endswith(".py") else file
    if name.endswith("/__init__"):
        name = name[: -len("/__init__")]
    if "." not in name:
        name = name.replace("/", ".")
        __import__(name)
        module = sys.modules[name]
        if getattr(module, "__file__", None) == path:
            return module
    # A folder with a dot in its name, or a file that is called like a module of Python's own.
    from importlib.util import module_from_spec, spec_from_file_location

    name = name.replace("/", ".")
    spec = spec_from_file_location(name if name not in sys.modules else f"{name} (handler)", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def recognise(value: Any, kind: str) -> Function:
    """What `value` is; `kind` is what clowdy.yaml says, `auto` where it says nothing."""
    code, names, required = _signature(value)
    flags = 0 if code is None else code.co_flags
    shape, auto = "handler", kind == "auto"
    if kind == "wsgi" or (auto and (names[:2] == ("environ", "start_response") or hasattr(value, "wsgi_app"))):
        shape = _WSGI
    elif kind == "asgi" or (auto and (names[:3] == _APPLICATIONS[_ASGI] or (required == 3 and flags & _COROUTINE))):
        shape = _ASGI
    elif flags & _ASYNC_GENERATOR:
        shape = "async generator"
    elif flags & _GENERATOR:
        shape = "generator"
    elif flags & _COROUTINE:
        shape = "async handler"
    variadic = bool(flags & _VARIADIC)
    wanted = _APPLICATIONS.get(shape)
    if wanted is not None and code is not None and not variadic and not required <= len(wanted) <= len(names):
        takes = f"takes {', '.join(wanted)}: this one takes {required} arguments"
        raise LoadError("not callable", f"{_ARTICLES[shape]} {shape} {takes}")
    if code is not None and shape in ("handler", "async handler") and not variadic and (not names or required > 2):
        takes = f"{required} arguments" if names else "no argument"
        raise LoadError("not callable", f"A handler takes an event, or an event and a context: this one takes {takes}")
    return Function(value, shape, 2 if variadic or len(names) >= 2 else 1)


def _signature(value: Any) -> tuple[Any, tuple[str, ...], int]:
    """Code object, names of positional parameters, and how many of them have no default.

    From the code object, since `inspect` takes longer to import than most functions.
    """
    for _ in range(32):
        wrapped = getattr(value, "__wrapped__", None)
        if wrapped is None or not _takes_anything(value):
            break
        value = wrapped
    bound = 0
    if hasattr(value, "__func__"):
        value, bound = value.__func__, 1
    elif not hasattr(value, "__code__"):
        if hasattr(getattr(type(value), "__call__", None), "__code__"):  # noqa: B004  (its code, not whether it is)
            value, bound = type(value).__call__, 1
        else:
            return _inspected(value)
    code = getattr(value, "__code__", None)
    if code is None:
        return _inspected(value)
    names = code.co_varnames[bound : code.co_argcount]
    return code, names, len(names) - len(value.__defaults__ or ())


def _takes_anything(value: Any) -> bool:
    code = getattr(value, "__code__", None)
    return code is not None and bool(code.co_flags & _VARIADIC) and not code.co_flags & (_GENERATOR | _COROUTINE)


def _inspected(value: Any) -> tuple[Any, tuple[str, ...], int]:
    inspect = stdlib("inspect")
    try:
        parameters = list(inspect.signature(value).parameters.values())
    except (TypeError, ValueError):
        return None, ("event",), 1
    target = getattr(value, "func", value)
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    required = sum(each.default is each.empty for each in positional)
    return getattr(target, "__code__", None), tuple(each.name for each in positional), required


def _forget_shadowed(paths: list[str]) -> None:
    """Lets the function's own `json.py` be found where the runner imported Python's `json` before."""
    for path in paths:
        try:
            names = os.listdir(path)  # noqa: PTH208  (pathlib is slow to import)
        except OSError:
            continue
        for name in names:
            name = name.removesuffix(".py")
            module = sys.modules.get(name)
            if module is not None and hasattr(module, "__file__") and not hasattr(module, "__origname__"):
                _own[name] = sys.modules.pop(name)


def stdlib(name: str) -> Any:
    """A module of Python's own, also where the function has a file of that name."""
    if name not in _own:
        other = sys.modules.get(name)
        if other is not None and not str(getattr(other, "__file__", "")).startswith(tuple(_STDLIB)):
            del sys.modules[name]
        path = sys.path[:]
        sys.path[:] = _STDLIB
        try:
            _own[name] = __import__(name)
        finally:
            sys.path[:] = path
            if other is not None:
                sys.modules[name] = other
    return _own[name]


_own: dict[str, Any] = {}
_STDLIB = list(sys.path)


def trace(error: BaseException) -> str:
    """The traceback of `error` from the function's own first frame on."""
    try:
        frame = error.__traceback__
        first = frame
        while first is not None and _ours(first.tb_frame.f_code.co_filename):
            first = first.tb_next
        lines = stdlib("traceback").format_exception(type(error), error, first)
        return "".join(lines).rstrip("\n")
    except BaseException:  # noqa: BLE001  (an exception may fail to print itself, or memory is short)
        return type(error).__name__


_HERE = os.path.dirname(os.path.abspath(__file__)) + "/"  # noqa: PTH100, PTH120  (pathlib is slow to import)


def _ours(file: str) -> bool:
    return file.startswith((_HERE, "<frozen importlib"))
