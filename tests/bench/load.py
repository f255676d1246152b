"""Requests as fast as a server answers them: `python -m tests.bench.load PORT PATH CONNECTIONS SECONDS`.

It ends after so many seconds or with SIGTERM.

A process of its own, one loop over epoll and plain sockets, each with one request on its way; connections that the
server closes are opened again. Prints one JSON object: requests, failures, seconds, and percentiles of the latency
in milliseconds.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import sys
import time

PERCENTILES = (50, 90, 99)
STALLED_SECONDS = 10.0


class Broken(Exception):
    """What came is no HTTP answer that can be measured."""


class Load:
    """The connections, and what came of them."""

    def __init__(self, port: int, path: str, connections: int) -> None:
        self._port = port
        self._request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\n\r\n".encode()
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._sent: dict[int, float] = {}
        self._parts: dict[int, bytes] = {}
        self.latencies: list[float] = []
        self.failures = 0
        self._end = 0.0
        for _ in range(connections):
            self._connect()

    def _connect(self) -> None:
        connected = socket.create_connection(("127.0.0.1", self._port))
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        descriptor = connected.fileno()
        self._sockets[descriptor] = connected
        self._poll.register(descriptor, select.EPOLLIN)
        self._sent[descriptor] = time.perf_counter()
        connected.send(self._request)

    def run(self, seconds: float) -> float:
        """Presses for so long; the seconds that it took."""
        now, sockets, sent, latencies = time.perf_counter, self._sockets, self._sent, self.latencies
        request, parts = self._request, self._parts
        began = moment = last = now()
        self._end = began + seconds
        # Answers of one length with one beginning are whole: only others are looked at closely.
        usual = -1
        while moment < self._end:
            ready = self._poll.poll(0.1)
            for descriptor, _ in ready:
                connected = sockets[descriptor]
                data = connected.recv(65536)
                if len(data) != usual or not data.startswith(b"HTTP/1.1 200"):
                    if data and not self._look(descriptor, data):
                        continue
                    if not data or descriptor not in parts:
                        self._again(descriptor, lost=not data)
                        continue
                    answer = parts.pop(descriptor)
                    if answer.startswith(b"HTTP/1.1 200"):
                        usual = len(answer)
                    else:
                        self.failures += 1
                moment = now()
                latencies.append(moment - sent[descriptor])
                sent[descriptor] = moment
                connected.send(request)
            moment = now()
            if ready:
                last = moment
            elif moment - last > STALLED_SECONDS:
                raise Broken("the server does not answer")
        return moment - began

    def stop(self) -> None:
        """Ends the run soon."""
        self._end = 0.0

    def close(self) -> None:
        """Closes every connection."""
        self._poll.close()
        for connected in self._sockets.values():
            connected.close()

    def _look(self, descriptor: int, data: bytes) -> bool:
        """Whether an answer is whole now; it is then among the parts, unless its connection ends with it."""
        answer = self._parts.pop(descriptor, b"") + data
        head, end, _ = answer.partition(b"\r\n\r\n")
        self._parts[descriptor] = answer
        if not end:
            return False
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        if b"content-length" not in fields:
            raise Broken("an answer without its length")
        length = len(head) + 4 + int(fields[b"content-length"])
        if len(answer) > length:
            raise Broken(f"{len(answer)} bytes for an answer of {length}")
        if len(answer) < length:
            return False
        if fields.get(b"connection", b"").strip() == b"close":
            del self._parts[descriptor]
            if not answer.startswith(b"HTTP/1.1 200"):
                self.failures += 1
            self.latencies.append(time.perf_counter() - self._sent[descriptor])
        return True

    def _again(self, descriptor: int, *, lost: bool) -> None:
        self._parts.pop(descriptor, None)
        if lost:
            self.failures += 1
        self._poll.unregister(descriptor)
        self._sockets.pop(descriptor).close()
        self._connect()


def main(port: int, path: str, connections: int, seconds: float) -> dict[str, float]:
    """Presses and says how it went."""
    load = Load(port, path, connections)
    signal.signal(signal.SIGTERM, lambda *_: load.stop())
    taken = load.run(seconds)
    load.close()
    latencies = sorted(load.latencies)
    if not latencies:
        raise Broken("nothing was answered")
    found = {f"p{each}": latencies[min(len(latencies) - 1, len(latencies) * each // 100)] for each in PERCENTILES}
    return {
        "requests": len(latencies),
        "failures": load.failures,
        "seconds": taken,
        **{name: value * 1000 for name, value in found.items()},
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))))
