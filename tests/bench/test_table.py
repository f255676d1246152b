"""The benchmarks' own arithmetic: what counts as reached, and that the load generator sees what went wrong."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.bench import load
from tests.bench.table import Figure, paired, show


@pytest.mark.parametrize(
    ("value", "at_most", "reached"), [(1.0, True, True), (1.01, True, False), (1.0, False, True), (0.99, False, False)]
)
def test_a_target_is_reached_by_its_own_direction(value: float, at_most: bool, reached: bool) -> None:
    assert Figure("row", "what", "against", value, 1.0, "", at_most=at_most).reached is reached


def test_a_miss_is_told_in_the_table() -> None:
    table = show([Figure("row", "what", "against", 2.5, 2.0, "5 ms and 2 ms", unit="x")])
    assert "2.50 x  <= 2 x  NOT REACHED  5 ms and 2 ms" in table


def test_a_figure_without_a_target_is_only_shown() -> None:
    figure = Figure("row", "what", "against", 2.5, None, "5 ms and 2 ms")
    assert figure.reached
    assert "2.50   -         5 ms and 2 ms" in show([figure])


def test_noise_that_hits_both_of_a_pair_goes_out() -> None:
    assert paired([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == 2.0


@contextmanager
def server(answer: bytes, *, closes: bool = False) -> Iterator[int]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while self.request.recv(65536):
                self.request.sendall(answer)
                if closes:
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        yield listening.server_address[1]
        listening.shutdown()


def run(port: int, connections: int = 3) -> load.Load:
    pressing = load.Load(port, "/", connections)
    pressing.run(0.1)
    pressing.close()
    return pressing


def test_load_goes_on_over_kept_connections() -> None:
    with server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as port:
        pressing = run(port)
    assert len(pressing.latencies) > 3
    assert pressing.failures == 0


def test_load_connects_again_where_the_server_closes() -> None:
    with server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", closes=True) as port:
        pressing = run(port)
    assert len(pressing.latencies) > 3
    assert pressing.failures == 0


def test_what_is_not_200_is_a_failure() -> None:
    with server(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n") as port:
        pressing = run(port)
    assert pressing.failures == len(pressing.latencies) > 3


def test_a_connection_that_is_cut_is_a_failure() -> None:
    with server(b"HTTP/1.1 200 OK\r\n", closes=True) as port:
        assert run(port).failures > 0
