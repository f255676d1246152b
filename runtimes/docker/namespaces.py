"""The network namespaces of containers, entered by a server that may: root of this machine."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from clowdy.runtimes.docker.netfilter_worker import open_netfilter, set_rules

_NETWORK = 0x40000000
_OURS = Path("/proc/thread-self/ns/net")


def open_namespace(pid: int) -> int:
    """A descriptor of the network namespace of a process; raises OSError, also when it is this one's own."""
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if os.path.samestat(os.fstat(descriptor), _OURS.stat()):
        os.close(descriptor)
        raise PermissionError(f"process {pid} has the server's own network")
    return descriptor


def set_rules_in(namespace: int, message: bytes) -> None:
    """Gives it the rules of `netfilter.rules_message`; blocks for some milliseconds, raises OSError."""
    with _speak(partial(_check, "setns", namespace, _NETWORK)) as kernel:
        set_rules(kernel, message)


def try_rules(message: bytes) -> None:
    """The same in a new namespace that is gone afterwards."""
    with _speak(partial(_check, "unshare", _NETWORK)) as kernel:
        set_rules(kernel, message)


def _speak(enter: Callable[[], None]) -> socket.socket:
    def open_there() -> socket.socket:
        enter()
        return open_netfilter()

    # A thread that does nothing else and ends there: one that came back would be trusted to have done so.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(open_there).result()


def _check(call: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc[call](*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
