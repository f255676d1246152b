"""Single requests over connections that are kept, timed."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Mapping, Sequence


class Caller:
    """One connection to a server, and GETs on it one at a time."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        self._port = port
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def ask(self, path: str) -> None:
        """Sends a request and does not wait for its answer."""
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{self._headers}\r\n"
        self._socket.sendall(head.encode())

    def answer(self) -> bytes:
        """The body of the answer; raises RuntimeError when its status is not 200."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{head.decode()}\n{body[:500].decode(errors='replace')}")
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        while len(body) < int(fields[b"content-length"]):
            body += self._more()
        return body

    def milliseconds(self, path: str) -> float:
        """What one request takes."""
        began = time.perf_counter()
        self.ask(path)
        self.answer()
        return (time.perf_counter() - began) * 1000

    def _more(self) -> bytes:
        piece = self._socket.recv(1 << 20)
        if not piece:
            raise RuntimeError("the server closed the connection")
        return piece


def slowest(callers: Sequence[Caller], paths: Sequence[str]) -> float:
    """Milliseconds from the first of several requests, sent at once, to the last answer."""
    waiting = {caller.fileno(): caller for caller in callers}
    poll = select.poll()
    for descriptor in waiting:
        poll.register(descriptor, select.POLLIN)
    began = time.perf_counter()
    for caller, path in zip(callers, paths, strict=True):
        caller.ask(path)
    while waiting:
        for descriptor, _ in poll.poll():
            waiting.pop(descriptor).answer()
            poll.unregister(descriptor)
    return (time.perf_counter() - began) * 1000
