"""The runner: started empty, told once which function it is, then answering calls until it is killed.

It runs as the function's own user in the function's own process, so that nothing here is a barrier; the server
believes nothing that comes from it.
"""

from __future__ import annotations

import os
import select
import sys
import time

from . import frames
from .answer import BadResponse, encode
from .channel import Channel, Gone, joined
from .codec import decode, to_bytes
from .event import context_of, event_of
from .loading import Function, LoadError, load, prepare, trace
from .logs import Logs, Stream
from .network import Explainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .channel import Body
    from .logs import CallLog

    Respond = Callable[[int, dict[str, Any], Body], bytes]

_exit_now = os._exit
_CHANNEL, _PIPE = 1000, 1001
_PRELOAD_AFTER_MS = 40


def main(processes: int) -> None:
    """Runs on descriptor 3, the channel, and 4, the reading end of the pipe behind 1 and 2."""
    # High numbers, and closed in whatever the function executes.
    os.dup2(3, _CHANNEL, inheritable=False)
    os.dup2(4, _PIPE, inheritable=False)
    os.close(3)
    os.close(4)
    if processes:
        import resource

        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    sys.dont_write_bytecode = True
    channel = Channel(_CHANNEL)
    logs = Logs(channel, _PIPE)
    sys.stdout = sys.__stdout__ = Stream(logs, 1, "<stdout>")  # type: ignore[misc, assignment]
    sys.stderr = sys.__stderr__ = Stream(logs, 2, "<stderr>")  # type: ignore[misc, assignment]
    os.register_at_fork(after_in_child=logs.after_fork)
    os.register_at_fork(after_in_child=channel.forget)
    os._exit = _exit_with(logs)  # type: ignore[assignment]
    logs.start()
    _preload_when_idle()
    kind, _, head, _ = channel.read()
    start = decode(head.decode())
    if kind == frames.PROBE:
        _probe(channel, logs, start)
    elif kind == frames.START:
        _serve(channel, logs, start)


def _exit_with(logs: Logs) -> Callable[[int], None]:
    """`os._exit` for the function: what it printed last must not be lost."""

    def _exit(status: int) -> None:
        if not logs.forked:
            logs.flush()
        _exit_now(status)

    return _exit


def _preload_when_idle() -> None:
    """Imports what most functions import, and meets each first time, once it is clear that nobody waits."""
    waiting = select.poll()
    waiting.register(_CHANNEL, select.POLLIN)
    if not waiting.poll(_PRELOAD_AFTER_MS):
        import json
        import traceback  # noqa: F401  (an error's first report should not wait for it)

        compile("json", "", "exec")
        json.dumps(json.loads("{}"))
        try:
            __import__("_clowdy_nothing")  # the import system reads the standard library's folders
        except ImportError:
            pass


def _load(
    logs: Logs, start: dict[str, Any], handler: list[str], fork: Callable[[dict[str, Any], bytes], None] | None = None
) -> tuple[Function | None, bytes, dict[str, Any]]:
    """One handler, what its import printed, and what to say of it.

    With `fork`, which is told of the import and returns in children alone, it is of what follows in a child.
    """
    log = logs.begin(0)
    began = time.perf_counter()
    function = None
    try:
        function = load(start["app"], start["sources"][0], handler[0], handler[1], start["type"])
        said = {"shape": function.shape, "import_ms": (time.perf_counter() - began) * 1000}
        if fork is not None:
            fork(said, logs.end(log))
            said["import_ms"] = 0.0
            log = logs.begin(0)
        if function.shape == "ASGI application":
            from .asgi import Application

            function.application = Application(function.call)
            function.application.start()
    except LoadError as error:
        function = None
        said = {"reason": error.reason, "text": error.text[: frames.TEXT_LIMIT], "module": error.module}
    except BaseException as error:  # noqa: BLE001  (a class of the module may raise while its object is looked at)
        function = None
        said = {"reason": "exception", "text": f"Failed to load function: {trace(error)}", "module": None}
    end_if_forked(logs)
    return function, logs.end(log), said


def end_if_forked(logs: Logs) -> None:
    """Ends a child that the function forked and that came back into the runner: it must not speak for the parent."""
    if logs.forked:
        _exit_now(0)


def _explainer(logs: Logs, start: dict[str, Any]) -> Explainer:
    explainer = Explainer(logs)
    if start["offline"]:
        explainer.watch()
    return explainer


def _probe(channel: Channel, logs: Logs, start: dict[str, Any]) -> None:
    prepare(start)
    explainer = _explainer(logs, start)
    for handler in start["handlers"]:
        explainer.again()
        _, log, said = _load(logs, start, handler)
        channel.send(log + frames.pack(frames.PROBED, 0, to_bytes(said)))
    channel.read()


def _serve(channel: Channel, logs: Logs, start: dict[str, Any]) -> None:
    prepare(start)
    explainer = _explainer(logs, start)
    fork = None
    if start["parent"]:
        from .parent import fork_when_asked

        def fork(said: dict[str, Any], log: bytes) -> None:
            fork_when_asked(channel, logs, said, log)

    function, log, said = _load(logs, start, start["handler"], fork)
    explainer.again()
    if function is None:
        channel.send(log + frames.pack(frames.START_FAILED, 0, to_bytes(said)))
        channel.read()
        return
    names = start["context"]
    if function.application is not None:
        channel.send(log + frames.pack(frames.READY, 0, to_bytes(said)))
        function.application.serve(channel, logs, names)
        return
    if function.shape in _ON_A_LOOP:
        from .looped import serve

        channel.send(log + frames.pack(frames.READY, 0, to_bytes(said)))
        serve(channel, logs, function, names)
        return
    channel.send(log + frames.pack(frames.READY, 0, to_bytes(said)))
    respond = _responder(channel, function, names)
    while True:
        kind, call, head, body = channel.read()
        if kind == frames.CALL:
            _answer(channel, logs, respond, call, head, body)


def _responder(channel: Channel, function: Function, names: dict[str, Any]) -> Respond:
    """What makes the last frame of a call, and raises what the function does."""
    if function.shape == "WSGI application":
        from . import wsgi

        def respond(call: int, said: dict[str, Any], body: Body) -> bytes:
            return wsgi.respond(channel, call, function.call, said, body, context_of(said, names))

    else:

        def respond(call: int, said: dict[str, Any], body: Body) -> bytes:
            event, context = arguments(said, body, names)
            value = function.call(event, context) if function.arguments == 2 else function.call(event)
            # The commonest is asked for first.
            return result(said, call, value) if type(value) is dict else _other(channel, said, call, value)

    return respond


def _answer(channel: Channel, logs: Logs, respond: Respond, call: int, head: bytes, body: Body) -> None:
    """One call of what takes one at a time, from its frame to the frame that answers it."""
    log = logs.begin(call)
    try:
        answer = respond(call, decode(head.decode()), body)
    except BaseException as error:  # noqa: BLE001  (SystemExit and KeyboardInterrupt are the function's, too)
        answer = failure(log, call, error)
    end_if_forked(logs)
    channel.send(logs.end(log) + answer)


def _other(channel: Channel, said: dict[str, Any], call: int, value: Any) -> bytes:
    """The last frame for a result that may have to be waited for, or comes in pieces."""
    if hasattr(value, "__await__"):
        from .looped import run

        value = run(value)
    if hasattr(value, "__anext__"):
        from .looped import in_turn

        value = in_turn(value)
    if hasattr(value, "__next__"):
        from .flow import pour

        return pour(channel, call, value)
    return result(said, call, value)


class BadInput(Exception):
    """An event that is not JSON."""


def arguments(said: dict[str, Any], body: Body, names: dict[str, Any]) -> tuple[Any, Any]:
    """Event and context of a call; raises BadInput."""
    try:
        return event_of(said, joined(body)), context_of(said, names)
    except (ValueError, RecursionError):
        raise BadInput("Invalid JSON input") from None


def result(said: dict[str, Any], call: int, value: Any) -> bytes:
    """The frame that carries what a handler returned; raises BadResponse."""
    head, body = encode(value, said["trigger"] == "gateway")
    return frames.pack(frames.RESULT, call, head, body)


_ON_A_LOOP = ("async handler", "async generator")


def failure(log: CallLog, call: int, error: BaseException) -> bytes:
    """The frame that says why a call failed; its text also goes to the log.

    That nobody takes the answer is told by the server: in a traceback it would look like a mistake of the author.
    """
    if isinstance(error, Gone):
        return frames.pack(frames.FAILED, call, b'{"code":"function_failed"}')
    if isinstance(error, BadResponse):
        code, text = "bad_response", str(error)
    elif isinstance(error, BadInput):
        code, text = "function_failed", str(error)
    elif isinstance(error, MemoryError):
        code, text = "out_of_memory", "Function error: MemoryError"
    else:
        code = "crashed" if isinstance(error, SystemExit) else "function_failed"
        text = f"Function error: {trace(error)}"
    data = text.encode("utf-8", "backslashreplace")[: frames.TEXT_LIMIT]
    log.add(data + b"\n")
    return frames.pack(frames.FAILED, call, b'{"code":"%s"}' % code.encode(), data)
