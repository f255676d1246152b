from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clowdy.runtimes.api import Call, FailureCode
from clowdy.runtimes.connection import ANSWER_LIMIT, GRACE_SECONDS, Connection
from clowdy.runtimes.wire import Frame, frames, pack


class Loop(asyncio.AbstractEventLoop):
    """Only time and timers, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[asyncio.TimerHandle] = []
        self.made = 0
        self.soon: list[Any] = []

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self.timers.append(timer)
        self.made += 1
        return timer

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        self.soon.append((callback, args))

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self.timers.remove(handle)

    def move(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer.when() <= end]:
            timer = min(due, key=lambda timer: timer.when())
            self.timers.remove(timer)
            self.now = timer.when()
            timer._run()
        self.now = end


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def abort(self) -> None:
        self.aborted = True


class Heard:
    """Implements `CallSink` as a list of what came."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def log(self, text: bytes) -> None:
        self.events.append(("log", text))

    def result(self, head: bytes, body: bytes) -> None:
        self.events.append(("result", head, body))

    def head(self, head: bytes) -> None:
        self.events.append(("head", head))

    def piece(self, body: bytes) -> None:
        self.events.append(("piece", body))

    def end(self) -> None:
        self.events.append(("end",))

    def failed(self, code: FailureCode, text: str) -> None:
        self.events.append(("failed", code, text))


class Line:
    """A connection with its other side in the test's hands."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.starts: list[Frame] = []
        self.ends: list[tuple[FailureCode | None, str]] = []
        self.settled = 0
        self.connection = Connection(self.loop, self.starts.append, self._end, self._settle)
        self.transport = Transport()
        self.connection.connection_made(self.transport)

    def _end(self, code: FailureCode | None, text: str) -> None:
        self.ends.append((code, text))
        self.connection.fail_all(code or FailureCode.CRASHED, text)

    def _settle(self) -> None:
        self.settled += 1

    def call(self, seconds: float = 10.0) -> tuple[int, Heard]:
        heard = Heard()
        return self.connection.call(Call(b"{}", b"body", seconds, heard)), heard

    def says(self, *packed: bytes) -> None:
        self.connection.data_received(b"".join(packed))


@pytest.fixture
def line() -> Line:
    return Line()


def test_a_call_is_one_frame_and_its_answer_goes_to_its_sink(line: Line) -> None:
    number, heard = line.call()
    assert line.transport.written == pack(frames.CALL, number, b"{}", b"body")
    assert line.connection.busy == 1
    line.says(pack(frames.LOG, number, b"", b"text"), pack(frames.RESULT, number, b"h", b"b"))
    assert heard.events == [("log", b"text"), ("result", b"h", b"b")]
    assert line.connection.busy == 0
    assert line.connection.alive


def test_answers_find_their_calls_in_any_order(line: Line) -> None:
    (one, first), (two, second) = line.call(), line.call()
    line.says(pack(frames.RESULT, two, b"", b"2"), pack(frames.RESULT, one, b"", b"1"))
    assert first.events == [("result", b"", b"1")]
    assert second.events == [("result", b"", b"2")]


def test_an_answer_can_come_in_pieces(line: Line) -> None:
    number, heard = line.call()
    line.says(pack(frames.HEAD, number, b"h"), pack(frames.PIECE, number, b"", b"1"), pack(frames.END, number))
    assert heard.events == [("head", b"h"), ("piece", b"1"), ("end",)]


def test_pieces_can_end_in_failure(line: Line) -> None:
    number, heard = line.call()
    line.says(pack(frames.HEAD, number, b"h"), pack(frames.FAILED, number, b'{"code":"function_failed"}', b"why"))
    assert heard.events[-1] == ("failed", FailureCode.FUNCTION_FAILED, "why")
    assert line.connection.alive


@pytest.mark.parametrize("code", ["crashed", "out_of_memory"])
def test_failures_that_no_process_survives_end_the_instance(line: Line, code: str) -> None:
    number, heard = line.call()
    line.says(pack(frames.FAILED, number, b'{"code":"%s"}' % code.encode(), b"why"))
    assert heard.events == [("failed", FailureCode(code), "why")]
    assert line.ends == [(FailureCode(code), "why")]
    assert line.transport.aborted


def test_a_call_that_exceeds_its_time_is_failed_at_that_time_and_ends_the_instance(line: Line) -> None:
    _, slow = line.call(2.0)
    line.loop.move(1.9)
    assert line.connection.alive
    line.loop.move(0.2)
    assert slow.events == [("failed", FailureCode.TIMEOUT, "Function timed out after 2 seconds")]
    assert line.ends[0][0] is FailureCode.TIMEOUT
    assert not line.connection.alive


def test_a_call_that_exceeds_its_time_beside_others_is_asked_to_end_first(line: Line) -> None:
    number, slow = line.call(2.0)
    kept, other = line.call(30.0)
    line.loop.move(2.1)
    assert slow.events == [("failed", FailureCode.TIMEOUT, "Function timed out after 2 seconds")]
    assert line.transport.written.endswith(pack(frames.CANCEL, number, b"", frames.LATE))
    assert line.connection.busy == 2
    line.says(pack(frames.FAILED, number, b'{"code":"function_failed"}'))
    line.loop.move(GRACE_SECONDS + 1)
    line.says(pack(frames.RESULT, kept))
    assert other.events == [("result", b"", b"")]
    assert len(slow.events) == 1
    assert line.connection.alive


def test_a_call_that_does_not_end_when_asked_ends_the_others_with_it(line: Line) -> None:
    _, slow = line.call(2.0)
    _, other = line.call(30.0)
    line.loop.move(2.0 + GRACE_SECONDS + 0.1)
    assert line.ends[0][0] is FailureCode.TIMEOUT
    assert len(slow.events) == 1
    assert other.events[0][1] is FailureCode.CRASHED


def test_a_cancelled_call_has_its_grace_and_no_more(line: Line) -> None:
    number, heard = line.call(30.0)
    line.connection.cancel(number, 1.0)
    line.loop.move(0.9)
    assert line.connection.alive
    line.loop.move(0.2)
    assert line.ends[0][0] is FailureCode.TIMEOUT
    assert heard.events[-1][1] is FailureCode.TIMEOUT


def test_a_cancelled_call_that_does_not_end_beside_others_is_one_that_is_over_its_time(line: Line) -> None:
    number, heard = line.call(30.0)
    _, other = line.call(30.0)
    line.connection.cancel(number, 1.0)
    line.loop.move(1.1)
    assert line.connection.late == 1
    assert line.transport.written.endswith(pack(frames.CANCEL, number, b"", frames.LATE))
    assert [event[0] for event in heard.events] == ["failed"]
    line.loop.move(GRACE_SECONDS)
    assert line.ends[0][0] is FailureCode.TIMEOUT
    assert other.events[0][1] is FailureCode.CRASHED
    assert len(heard.events) == 1


def test_cancelling_again_gives_no_further_grace(line: Line) -> None:
    number, _ = line.call(1.0)
    line.call(30.0)
    line.loop.move(1.1)
    written = line.transport.written
    line.connection.cancel(number, 60.0)
    assert line.transport.written == written
    line.loop.move(GRACE_SECONDS)
    assert not line.connection.alive


def test_a_call_that_was_over_its_time_settles_once(line: Line) -> None:
    number, _ = line.call(1.0)
    line.call(30.0)
    line.loop.move(1.1)
    assert (line.settled, line.connection.late) == (0, 1)
    line.says(pack(frames.RESULT, number))
    assert (line.settled, line.connection.late) == (1, 0)


def test_credit_is_told_to_the_runner_while_the_call_runs(line: Line) -> None:
    number, _ = line.call()
    line.connection.credit(number, 70_000)
    assert line.transport.written.endswith(pack(frames.CREDIT, number, b"", (70_000).to_bytes(4, "big")))
    line.says(pack(frames.RESULT, number))
    written = line.transport.written
    line.connection.credit(number, 1)
    assert line.transport.written == written


def test_time_is_measured_for_each_call_after_a_long_one_before(line: Line) -> None:
    line.call(30.0)
    _, quick = line.call(0.5)
    line.loop.move(0.6)
    assert quick.events[0][1] is FailureCode.TIMEOUT


def test_many_calls_share_one_timer(line: Line) -> None:
    for _ in range(1000):
        number, _ = line.call(30.0)
        line.says(pack(frames.RESULT, number))
        line.loop.now += 0.01
    assert line.loop.made == 1


def test_the_timer_follows_the_next_deadline(line: Line) -> None:
    number, _ = line.call(5.0)
    line.says(pack(frames.RESULT, number))
    line.loop.move(3)
    _, heard = line.call(5.0)
    line.loop.move(4.9)
    assert heard.events == []
    line.loop.move(0.2)
    assert heard.events[0][1] is FailureCode.TIMEOUT


@pytest.mark.parametrize(
    "forged",
    [
        pack(frames.RESULT, 1, b"", b"") * 2,
        pack(frames.RESULT, 2),
        pack(frames.FAILED, 2, b'{"code":"crashed"}'),
        pack(frames.PIECE, 1),
        pack(frames.END, 1),
        pack(frames.HEAD, 1) * 2,
        pack(frames.HEAD, 1) + pack(frames.RESULT, 1),
        pack(frames.CALL, 1),
        pack(frames.FAILED, 1, b"{}"),
        pack(frames.FAILED, 1, b'{"code":"unheard"}'),
        pack(frames.LOG, 1, b"", bytes(frames.LOG_LIMIT)) + pack(frames.LOG, 1, b"", bytes(100)),
        frames.HEADER.pack(0xC1, frames.RESULT, 0, 1, 0, ANSWER_LIMIT + 1),
        b"garbage that is no frame",
    ],
)
def test_what_no_runner_would_say_ends_the_instance(line: Line, forged: bytes) -> None:
    _, heard = line.call()
    line.says(forged)
    assert line.ends[0][0] is FailureCode.CRASHED
    assert len(line.ends) == 1
    assert heard.events[-1][0] in ("failed", "result")
    assert line.transport.aborted


def test_a_late_print_of_a_call_that_ended_is_lost_and_no_harm(line: Line) -> None:
    number, heard = line.call()
    line.says(pack(frames.RESULT, number), pack(frames.LOG, number, b"", b"late"))
    assert heard.events == [("result", b"", b"")]
    assert line.connection.alive


def test_logs_are_utf8_whatever_was_sent(line: Line) -> None:
    number, heard = line.call()
    line.says(pack(frames.LOG, number, b"", b"a\xffb"))
    assert heard.events == [("log", "a\ufffdb".encode())]


def test_an_answer_is_not_believed_while_memory_may_have_run_out(line: Line) -> None:
    _, heard = line.call()

    def suspicious() -> bool:
        line.connection.end(FailureCode.OUT_OF_MEMORY, "out of memory")
        return True

    line.connection.suspicion = suspicious
    line.says(pack(frames.RESULT, 1, b"", b"survived"))
    assert heard.events == [("failed", FailureCode.OUT_OF_MEMORY, "out of memory")]


def test_a_cancelled_call_counts_and_is_heard_until_it_ends(line: Line) -> None:
    number, heard = line.call()
    line.connection.cancel(number, 1.0)
    assert line.transport.written.endswith(pack(frames.CANCEL, number))
    assert line.connection.busy == 1
    line.says(pack(frames.LOG, number, b"", b"x"), pack(frames.RESULT, number))
    assert line.connection.busy == 0
    assert heard.events == [("log", b"x"), ("result", b"", b"")]
    assert line.settled == 0


def test_a_closed_channel_is_told_once(line: Line) -> None:
    _, heard = line.call()
    line.connection.eof_received()
    line.connection.connection_lost(None)
    assert len(line.ends) == 1
    assert line.ends[0][0] is None
    assert heard.events[0][:2] == ("failed", FailureCode.CRASHED)


def test_a_call_after_the_end_fails_later(line: Line) -> None:
    line.connection.end(None, "")
    _, heard = line.call()
    assert heard.events == []
    for callback, arguments in line.loop.soon:
        callback(*arguments)
    assert heard.events[0][1] is FailureCode.CRASHED


def test_start_frames_go_to_the_owner(line: Line) -> None:
    line.says(pack(frames.HELLO, 0, b"", b"3.11"))
    assert line.starts == [Frame(frames.HELLO, 0, b"", b"3.11")]


def test_a_large_body_is_sent_in_its_parts_and_kept_nowhere(line: Line) -> None:
    parts = [b"a" * 700_000, b"b" * 700_000]
    number = line.connection.call(Call(b"{}", parts, 10.0, Heard()))
    assert line.transport.written == pack(frames.CALL, number, b"{}", b"a" * 700_000 + b"b" * 700_000)
    assert parts == []
