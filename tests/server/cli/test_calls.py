"""`clowdy invoke` and `clowdy logs`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from clowdy.server.cli.client import Client, Lost
from clowdy.server.cli.logs import Follower
from clowdy.server.cli.target import Target
from tests.server.cli.conftest import TOKEN, Terminal
from tests.server.cli.small_server import Asked, SmallServer, event

PATH = "/api/projects/shop/invocations"


def call(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"{number:012x}",
        "time": 1_790_000_000.0 + number,
        "function": "hello",
        "version": 3,
        "release": 7,
        "status": "success",
        "http_status": 200,
        "code": None,
        "duration_ms": 12.3,
        "cold_start": False,
        "trigger": "gateway",
        "method": "GET",
        "path": "/users/1",
        "log": "",
        **more,
    }


@pytest.fixture
def linked(signed_in: Terminal, server: SmallServer) -> Path:
    return signed_in.repository(("clowdy", f"{server.url}/git/shop.git"))


def test_a_result_is_printed_as_json(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on("POST /api/invoke/shop/hello", {"success": True, "output": {"greeting": "Hé \x1b[31m"}})
    result = signed_in.run("invoke", "hello", '{"name": "Ada"}', folder=linked)

    assert (result.code, result.err) == (0, "")
    assert json.loads(result.out) == {"greeting": "Hé \x1b[31m"}
    assert "\x1b" not in result.out
    assert server.last("POST /api/invoke/shop/hello").content == {"input": {"name": "Ada"}}


@pytest.mark.parametrize(
    ("arguments", "stdin", "sent"),
    [([], "ignored", {}), (["-"], '{"a": 1}', {"a": 1}), (["-"], "", {}), (["[]"], "", [])],
)
def test_the_event_comes_from_the_argument_or_standard_input(
    signed_in: Terminal, server: SmallServer, linked: Path, arguments: list[str], stdin: str, sent: object
) -> None:
    server.on("POST /api/invoke/shop/hello", {"success": True, "output": None})
    assert signed_in.run("invoke", "hello", *arguments, stdin=stdin, folder=linked).out == "null\n"

    assert server.last("POST /api/invoke/shop/hello").content == {"input": sent}


def test_a_function_that_fails_exits_1_with_the_reason(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    answer = {"success": False, "error": "Function error: Traceback\n  line 2\x07", "invocation_id": "0" * 12}
    server.on("POST /api/invoke/shop/hello", answer)
    result = signed_in.run("invoke", "hello", folder=linked)

    assert (result.code, result.out) == (1, "")
    assert result.err == (
        "clowdy: hello failed: Function error: Traceback\n"
        "  line 2\N{REPLACEMENT CHARACTER}\n"
        "see clowdy logs 000000000000\n"
    )
    assert json.loads(signed_in.run("invoke", "hello", "--json", folder=linked).out) == answer


@pytest.mark.parametrize(
    "event",
    [
        "{name: Ada}",
        '{"a": NaN}',
        "[-Infinity]",
        '{"a": 1e999}',
        "9" * 5000,
        "[" * 5000,
        "[" * 5000 + "]" * 5000,
        '{"a":' * 5000 + "1" + "}" * 5000,
        '"\udcff"',
    ],
)
def test_an_event_that_is_not_json_exits_2(signed_in: Terminal, server: SmallServer, linked: Path, event: str) -> None:
    result = signed_in.run("invoke", "hello", event, folder=linked)

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("clowdy: the event is not JSON: ")
    assert result.err.count("\n") == 1
    assert server.asked[-1].what == "GET /api/me"


def test_an_event_on_standard_input_that_is_not_utf8_exits_2(signed_in: Terminal, linked: Path) -> None:
    result = signed_in.run("invoke", "hello", "-", stdin=b'"\xff"', folder=linked)

    assert result.code == 2
    assert result.err.startswith("clowdy: the event is not JSON: ")


def test_a_lone_surrogate_goes_there_and_comes_back(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on("POST /api/invoke/shop/hello", {"success": True, "output": "\ud800!"})
    result = signed_in.run("invoke", "hello", '{"a": "\\ud800"}', folder=linked)

    assert (result.code, result.out) == (0, '"\N{REPLACEMENT CHARACTER}!"\n')
    assert server.last("POST /api/invoke/shop/hello").content == {"input": {"a": "\ud800"}}
    as_json = signed_in.run("invoke", "hello", "--json", folder=linked)
    assert json.loads(as_json.out)["output"] == "\ud800!"


def test_a_reason_with_a_lone_surrogate_is_printed(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on("POST /api/invoke/shop/hello", {"success": False, "error": "Function error: \udc00"})
    result = signed_in.run("invoke", "hello", folder=linked)

    assert result.code == 1
    assert "Function error: \N{REPLACEMENT CHARACTER}" in result.err


def test_an_answer_as_deep_as_a_server_sends_is_printed_or_said_to_be_too_deep(
    signed_in: Terminal, server: SmallServer, linked: Path
) -> None:
    server.on("POST /api/invoke/shop/hello", b'{"success":true,"output":' + b"[" * 500 + b"]" * 500 + b"}")
    result = signed_in.run("invoke", "hello", folder=linked)
    assert (result.code, "".join(result.out.split())) == (0, "[" * 500 + "]" * 500)

    server.on("POST /api/invoke/shop/hello", b'{"success":true,"output":' + b"[" * 5000 + b"]" * 5000 + b"}")
    result = signed_in.run("invoke", "hello", folder=linked)
    assert (result.code, result.out) == (1, "")
    assert "nested too deep" in result.err


def test_a_function_is_called_by_its_id_from_anywhere(signed_in: Terminal, server: SmallServer) -> None:
    server.on("POST /api/invoke/0123456789ab", {"success": True, "output": 1})

    assert signed_in.run("invoke", "0123456789ab").out == "1\n"


def test_a_busy_function_says_so(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on("POST /api/invoke/shop/hello", {"detail": "Too many callers wait", "code": "busy"}, status=429)
    result = signed_in.run("invoke", "hello", folder=linked)

    assert (result.code, result.err) == (1, "clowdy: Too many callers wait\n")


def test_the_latest_calls_stand_oldest_first(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    failed = call(2, status="error", http_status=500, code="function_failed", cold_start=True, log="oh\x1b[31m\nno\n")
    server.on(f"GET {PATH}", [failed, call(1)])
    result = signed_in.run("logs", "-n", "2", folder=linked)

    lines = result.out.splitlines()
    assert result.code == 0
    assert lines[0][21:] == "hello v3  deploy/7  GET /users/1  200  success  12 ms  000000000001"
    assert lines[1][21:] == ("hello v3  deploy/7  GET /users/1  500  error function_failed  12 ms  cold  000000000002")
    assert lines[2:] == ["    oh\N{REPLACEMENT CHARACTER}[31m", "    no"]
    assert server.last(f"GET {PATH}").query == {"limit": "2"}


def test_json_is_one_call_a_line_as_the_api_has_it(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on(f"GET {PATH}", [call(2), call(1)])
    result = signed_in.run("logs", "hello", "--json", folder=linked)

    assert [json.loads(line) for line in result.out.splitlines()] == [call(1), call(2)]
    assert server.last(f"GET {PATH}").query == {"function": "hello", "limit": "20"}


def test_many_calls_come_page_by_page(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    def page(asked: Asked) -> list[dict[str, Any]]:
        newest = int(asked.query["before"], 16) - 1 if "before" in asked.query else 500
        return [call(number) for number in range(newest, newest - int(asked.query["limit"]), -1)]

    server.on(f"GET {PATH}", page)
    result = signed_in.run("logs", "-n", "250", "--json", folder=linked)

    ids = [json.loads(line)["id"] for line in result.out.splitlines()]
    assert ids == [f"{number:012x}" for number in range(251, 501)]


def test_one_call_is_found_by_its_id(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on("GET /api/invocations/0000000000ff", call(255))

    assert json.loads(signed_in.run("logs", "0000000000ff", "--json", folder=linked).out) == call(255)


def test_a_function_may_be_called_like_an_id(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on(f"GET {PATH}", [call(1)])
    result = signed_in.run("logs", "deadbeef0000", folder=linked)

    assert result.code == 0
    assert server.last(f"GET {PATH}").query["function"] == "deadbeef0000"


def test_no_calls_yet_is_said_beside_the_output(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    server.on(f"GET {PATH}", [])
    result = signed_in.run("logs", folder=linked)

    assert (result.code, result.out, result.err) == (0, "", "clowdy: no calls yet\n")


class Stop(BaseException):
    """The test has seen enough."""


class Following:
    """A follower whose pauses are the test's: `between` is called instead of each."""

    def __init__(self, server: SmallServer, between: Callable[[int], None]) -> None:
        self.told: list[object] = []
        self.pauses: list[float] = []
        self._between = between
        self._server = server

    def run(self, count: int) -> None:
        target = Target(self._server.url, TOKEN, "shop")
        with Client(target) as client, pytest.raises(Stop):
            Follower(client, target, None, self._tell, self._sleep).run(count)

    def _tell(self, one: Mapping[str, Any]) -> None:
        self.told.append(int(str(one["id"]), 16))
        if one.get("stop"):
            raise Stop

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._between(len(self.pauses))


def no_pause(number: int) -> None:
    raise AssertionError("there was no reason to pause")


def test_following_shows_the_past_and_then_each_call_once(server: SmallServer) -> None:
    server.on(f"GET {PATH}", [call(2), call(1)])

    async def stream(_: web.Request, response: web.StreamResponse) -> None:
        await response.write(b": keep-alive\n\n" + event(call(2)) + event(call(3)) + event(call(4, stop=True)))
        await asyncio.sleep(5)

    server.on_stream(f"{PATH}/stream", stream)
    following = Following(server, no_pause)
    following.run(2)

    assert following.told == [1, 2, 3, 4]


def test_following_only_the_new_does_not_ask_for_the_past(server: SmallServer) -> None:
    async def stream(_: web.Request, response: web.StreamResponse) -> None:
        await response.write(event(call(9, stop=True)))
        await asyncio.sleep(5)

    server.on_stream(f"{PATH}/stream", stream)
    following = Following(server, no_pause)
    following.run(0)

    assert following.told == [9]
    assert all(asked.what != f"GET {PATH}" for asked in server.asked)


def test_a_broken_stream_is_taken_up_again_without_a_gap_or_a_repetition(
    server: SmallServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on(f"GET {PATH}", [call(1)])
    streams = [[call(2)], [call(5, stop=True)]]

    async def stream(_: web.Request, response: web.StreamResponse) -> None:
        for one in streams.pop(0):
            await response.write(event(one))
        if streams:
            assert _.transport is not None
            _.transport.abort()
        else:
            await asyncio.sleep(5)

    def between(_: int) -> None:
        # What happened while nobody listened.
        past = [call(4), call(3), call(2), call(1)]
        server.on(f"GET {PATH}", lambda asked: past[: int(asked.query["limit"])])

    server.on_stream(f"{PATH}/stream", stream)
    following = Following(server, between)
    following.run(1)

    assert following.told == [1, 2, 3, 4, 5]
    assert following.pauses == [0.5]
    assert "trying again" in capsys.readouterr().err


def test_a_server_that_is_away_is_asked_ever_more_seldom(
    server: SmallServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on(f"GET {PATH}", [])
    first = [True]

    async def stream(_: web.Request, response: web.StreamResponse) -> None:
        if not first.pop():
            await asyncio.sleep(5)

    def between(number: int) -> None:
        if number == 1:
            server.streams.clear()
            server.on(f"GET {PATH}/stream", b"", status=500)
            server.__exit__(None, None, None)
        if number == 6:
            raise Stop

    server.on_stream(f"{PATH}/stream", stream)
    following = Following(server, between)
    following.run(0)

    assert following.pauses == [0.5, 1.0, 2.0, 5.0, 5.0, 5.0]
    assert capsys.readouterr().err.count("trying again") == 1


def test_following_a_server_that_never_answered_fails_at_once() -> None:
    target = Target("http://127.0.0.1:1", TOKEN, "shop")
    with Client(target) as client, pytest.raises(Lost):
        Follower(client, target, None, lambda _: None).run(1)


def test_following_what_may_not_be_seen_fails_at_once(signed_in: Terminal, server: SmallServer, linked: Path) -> None:
    result = signed_in.run("logs", "-f", folder=linked)

    assert result.code == 1
    assert "not found" in result.err
