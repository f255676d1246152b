"""Answers in pieces, from a real function to a real client."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness import Server

PROJECT = "streams"
MANIFEST = """
functions:
  events: {handler: streams.py:events, timeout: 20}
  stamped: {handler: streams.py:stamped, timeout: 20}
  breaks: {handler: streams.py:breaks}
  endless: {handler: streams.py:endless, timeout: 2}
  flood: {handler: streams.py:flood, timeout: 60, concurrency: 1}
  lone: {handler: streams.py:lone, timeout: 60, concurrency: 1}
routes:
  GET /events: events
  GET /stamped: stamped
  GET /breaks: breaks
  GET /endless: endless
  GET /flood: flood
  GET /lone: lone
"""
SOURCE = """
import asyncio, time

async def events(event):
    yield {"statusCode": 200, "headers": {"Content-Type": "text/event-stream"}, "cookies": ["a=1", "b=2"]}
    for number in range(3):
        yield f"data: {number}\\n\\n"
        await asyncio.sleep(0.4)

def stamped(event):
    for number in range(3):
        yield {"number": number}
        time.sleep(0.1)

def breaks(event):
    yield "begun"
    time.sleep(0.5)
    raise KeyError("plan")

def endless(event):
    while True:
        yield "more"
        time.sleep(0.1)

async def lone(event):
    if event["query"]:
        return "free"
    return waiting()

async def waiting():
    try:
        yield "begun"
        await asyncio.sleep(60)
    finally:
        print("closing")

state = {"made": 0, "closed": 0}

def flood(event):
    if event["query"]:
        yield dict(state)
        return
    try:
        while True:
            state["made"] += 65536
            yield bytes(65536)
    finally:
        state["closed"] += 1
"""


@pytest.fixture(scope="module")
def streams(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    client = server.client(tmp_path_factory.mktemp("streams") / "work", PROJECT)
    client.commit({"clowdy.yaml": MANIFEST, "streams.py": SOURCE})
    client.push()
    yield f"{server.url}/api/gateway/{PROJECT}"


def logged(server: Server, request_id: str) -> dict[str, object]:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        answer = server.api("GET", f"/api/invocations/{request_id}")
        if answer.status_code == 200:
            found: dict[str, object] = answer.json()
            return found
        time.sleep(0.05)
    raise AssertionError("the call is not in the log")


def test_server_sent_events_arrive_one_by_one(server: Server, streams: str) -> None:
    with httpx.stream("GET", f"{streams}/events") as answer:
        arrived = [(time.monotonic(), piece) for piece in answer.iter_bytes()]
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert [piece for _, piece in arrived] == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]
    assert arrived[1][0] - arrived[0][0] > 0.2
    assert len(answer.headers.get_list("Set-Cookie")) == 2
    row = logged(server, answer.headers["X-Request-Id"])
    assert (row["status"], row["http_status"]) == ("success", 200)
    assert "data: 2" in str(row["output"])


def test_a_direct_call_gets_the_whole_stream(server: Server, streams: str) -> None:
    answer = server.api("POST", f"/api/invoke/{PROJECT}/stamped", json={"input": {}}).json()
    assert [json.loads(line) for line in answer["output"].splitlines()] == [{"number": number} for number in range(3)]


@pytest.mark.parametrize(("path", "code"), [("/breaks", "function_failed"), ("/endless", "timeout")])
def test_a_stream_that_does_not_end_well_is_cut(server: Server, streams: str, path: str, code: str) -> None:
    pieces: list[bytes] = []
    with (
        pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)),
        httpx.stream("GET", f"{streams}{path}") as answer,
    ):
        pieces.extend(answer.iter_bytes())
    assert pieces
    assert answer.status_code == 200
    assert logged(server, answer.headers["X-Request-Id"])["code"] == code
    assert httpx.get(f"{streams}/stamped").status_code == 200


def test_a_slow_reader_holds_the_function_and_not_the_servers_memory(server: Server, streams: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        slow.sendall(f"GET /api/gateway/{PROJECT}/flood HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert slow.recv(4096)
        time.sleep(1.0)
        before = _memory(server)
        # Reading on makes room for more: it was held, not dead.
        taken = 0
        while taken < 8 * 1024 * 1024:
            taken += len(slow.recv(65536))
        time.sleep(0.5)
        assert _memory(server) - before < 4 * 1024 * 1024
    # `concurrency: 1`: answered once the call before has ended with its client.
    state = httpx.get(f"{streams}/flood?state=1", timeout=20).json()
    assert state["closed"] == 1
    assert taken <= state["made"] < taken + 16 * 1024 * 1024


def test_a_client_that_leaves_at_once_does_not_keep_the_instance(server: Server, streams: str) -> None:
    # A reset, as of a client that was killed: the call and its end reach the runner together.
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port)) as hasty:
            hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            hasty.sendall(f"GET /api/gateway/{PROJECT}/lone HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert httpx.get(f"{streams}/lone?free=1", timeout=20).text == "free"


def test_what_a_function_prints_when_its_client_leaves_is_in_the_log(server: Server, streams: str) -> None:
    with httpx.stream("GET", f"{streams}/lone") as answer:
        assert next(answer.iter_text()) == "begun"
    row = logged(server, answer.headers["X-Request-Id"])
    assert (row["status"], row["log"]) == ("error", "closing\nThe client left")
    answer = httpx.head(f"{streams}/lone")
    assert logged(server, answer.headers["X-Request-Id"])["log"] == "closing\n"


STUBBORN = """
import asyncio
async def handler(event):
    print("begun")
    while True:
        try:
            yield "more"
            await asyncio.sleep(60)
        except BaseException:
            print("no")
            await asyncio.sleep(60)
"""


def test_a_call_whose_client_left_is_logged_when_the_server_stops_before_its_end(
    own_server: Server, tmp_path: Path, name: str
) -> None:
    client = own_server.client(tmp_path / "work", name)
    client.commit({"clowdy.yaml": "functions: {hello: {}}\nroutes: {GET /: hello}\n", "functions/hello.py": STUBBORN})
    client.push()
    with httpx.stream("GET", f"{own_server.url}/api/gateway/{name}/") as answer:
        assert next(answer.iter_text()) == "more"
    time.sleep(0.3)
    assert own_server.api("GET", f"/api/invocations/{answer.headers['X-Request-Id']}").status_code == 404
    assert own_server.stop() == 0
    own_server.start()
    row = logged(own_server, answer.headers["X-Request-Id"])
    assert (row["status"], row["log"]) == ("error", "begun\nno\nThe client left")


def _memory(server: Server) -> int:
    assert server.process is not None
    with open(f"/proc/{server.process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096
