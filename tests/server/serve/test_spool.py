"""The spool: what was appended is read again, after a kill, a torn write and a full disk too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clowdy.server.serve.spool import RECORD_BYTES, Position, Spool

BEGIN = Position(0, 0)


def everything(spool: Spool, start: Position = BEGIN, most: int = 1 << 30) -> list[bytes]:
    return spool.read(start, spool.end, most).payloads


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_records_come_back_in_their_order(folder: Path) -> None:
    spool = Spool.open(folder, BEGIN)
    for number in range(100):
        assert spool.append(b"record %d" % number)

    assert everything(spool) == [b"record %d" % number for number in range(100)]
    spool.close()


def test_reading_goes_on_where_it_stopped(folder: Path) -> None:
    spool = Spool.open(folder, BEGIN)
    for number in range(100):
        spool.append(b"%03d" % number * 10)
        if number % 30 == 29:
            spool.rotate()
    found: list[bytes] = []
    size, start = 0, BEGIN
    while start < spool.end:
        piece = spool.read(start, spool.end, 150)
        found += piece.payloads
        size += piece.size
        start = piece.end

    assert found == [b"%03d" % number * 10 for number in range(100)]
    assert size == 100 * 38
    spool.close()


def test_nothing_is_read_beyond_the_end_that_was_asked_for(folder: Path) -> None:
    spool = Spool.open(folder, BEGIN)
    spool.append(b"before")
    end = spool.end
    spool.append(b"after")

    assert spool.read(BEGIN, end, 1 << 30).payloads == [b"before"]
    spool.close()


def test_the_largest_record_is_read_whatever_is_asked_for(folder: Path) -> None:
    spool = Spool.open(folder, BEGIN)
    large = os.urandom(RECORD_BYTES - 100)
    spool.append(b"small")
    spool.append(large)
    first = spool.read(BEGIN, spool.end, 1)

    assert first.payloads == [b"small"]
    assert spool.read(first.end, spool.end, 1).payloads == [large]
    spool.close()


def test_a_server_that_starts_again_finds_what_was_not_read(folder: Path) -> None:
    first = Spool.open(folder, BEGIN)
    first.append(b"read")
    done = first.end
    first.append(b"not read")
    second = Spool.open(folder, done)
    second.append(b"new")

    assert everything(second, done) == [b"not read", b"new"]
    first.close()
    second.close()


@pytest.mark.parametrize("kept", range(8 + len(b"torn")))
def test_a_torn_tail_is_cut(folder: Path, kept: int) -> None:
    spool = Spool.open(folder, BEGIN)
    spool.append(b"whole")
    size = spool.size
    spool.append(b"torn")
    spool.close()
    path = folder / "00000001.spool"
    os.truncate(path, size + kept)

    again = Spool.open(folder, BEGIN)
    assert path.stat().st_size == size
    piece = again.read(BEGIN, again.end, 1 << 30)
    assert (piece.payloads, piece.damaged) == ([b"whole"], 0)
    again.close()


def test_zeros_that_a_power_cut_left_are_no_records(folder: Path) -> None:
    spool = Spool.open(folder, BEGIN)
    spool.append(b"whole")
    spool.close()
    with (folder / "00000001.spool").open("ab") as file:
        file.write(bytes(100_000))

    again = Spool.open(folder, BEGIN)
    assert everything(again) == [b"whole"]
    again.close()


def test_damage_is_counted_and_what_stands_in_other_files_is_read(folder: Path) -> None:
    spool = Spool.open(folder, BEGIN)
    spool.append(b"first")
    spool.append(b"second")
    spool.rotate()
    spool.append(b"third")
    path = folder / "00000001.spool"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    piece = spool.read(BEGIN, spool.end, 1 << 30)
    assert (piece.payloads, piece.damaged) == ([b"first", b"third"], 1)
    spool.close()


def test_damage_in_the_file_that_is_written_does_not_stop_what_comes_later(folder: Path) -> None:
    spool = Spool.open(folder, BEGIN)
    spool.append(b"first")
    path = folder / "00000001.spool"
    path.write_bytes(b"\xff" * path.stat().st_size)
    piece = spool.read(BEGIN, spool.end, 1 << 30)
    spool.append(b"second")

    assert (piece.payloads, piece.damaged) == ([], 1)
    assert everything(spool, piece.end) == [b"second"]
    spool.close()


def test_a_file_that_somebody_removed_does_not_stop_what_comes_later(folder: Path) -> None:
    spool = Spool.open(folder, BEGIN)
    spool.append(b"first")
    (folder / "00000001.spool").unlink()
    piece = spool.read(BEGIN, spool.end, 1 << 30)

    assert (piece.payloads, piece.end) == ([], spool.end)
    spool.close()


def test_files_that_the_archive_has_are_removed(folder: Path) -> None:
    spool = Spool.open(folder, BEGIN)
    for number in range(3):
        spool.append(b"%d" % number)
        spool.rotate()
    spool.forget(Position(3, 0))

    assert sorted(path.name for path in folder.iterdir()) == ["00000003.spool", "00000004.spool"]
    spool.close()
    again = Spool.open(folder, Position(4, 0))
    assert sorted(path.name for path in folder.iterdir()) == ["00000004.spool", "00000005.spool"]
    again.close()


def test_numbers_go_on_after_those_that_the_archive_knows(folder: Path) -> None:
    """A database restored from a backup may know of files that this folder never had."""
    spool = Spool.open(folder, Position(41, 100))
    spool.append(b"new")

    assert everything(spool, Position(41, 100)) == [b"new"]
    spool.close()


def test_a_full_disk_refuses_and_leaves_the_file_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool.open(folder, BEGIN)
    spool.append(b"before")

    write = os.write

    def short(descriptor: int, data: bytes) -> int:
        return write(descriptor, data[:11])

    with monkeypatch.context() as full:
        full.setattr(os, "write", short)
        assert not spool.append(b"does not fit")

    def no_space(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "write", no_space)
        assert not spool.append(b"does not fit")
    assert spool.append(b"after")

    assert everything(spool) == [b"before", b"after"]
    spool.close()
    again = Spool.open(folder, BEGIN)
    assert everything(again) == [b"before", b"after"]
    again.close()


def test_no_more_is_written_than_may_wait(folder: Path) -> None:
    spool = Spool.open(folder, BEGIN, backlog_bytes=100)
    assert spool.append(b"x" * 60)
    assert not spool.append(b"x" * 60)
    assert spool.append(b"x" * 20)

    spool.settle(68)
    assert spool.append(b"x" * 60)
    spool.close()
    assert not spool.append(b"x")


def test_others_cannot_read_it(folder: Path) -> None:
    spool = Spool.open(folder, BEGIN)

    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "00000001.spool").stat().st_mode & 0o777 == 0o600
    spool.close()


KILLED = """
import sys
from pathlib import Path
from clowdy.server.serve.spool import Position, Spool

spool = Spool.open(Path(sys.argv[1]), Position(0, 0))
number = 0
while True:
    spool.append(b"%d:" % number + bytes(number % 5000))
    # What is said after the append is what a caller would have been answered.
    print(number, flush=True)
    number += 1
"""


def test_every_record_that_was_acknowledged_survives_a_kill(folder: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as acknowledged:
        for _ in range(2000):
            last = acknowledged.readline()
        process.send_signal(signal.SIGKILL)
        rest = acknowledged.read().split()
    process.wait()
    # The last line may be torn itself.
    answered = int(rest[-2] if len(rest) > 1 else last)

    spool = Spool.open(folder, BEGIN)
    found = [int(payload.partition(b":")[0]) for payload in everything(spool)]
    spool.close()
    assert found == list(range(len(found)))
    assert len(found) > answered
