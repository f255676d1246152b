"""Hook messages, pkt-lines and advertisements, from bytes to values and back."""

from __future__ import annotations

import pytest

from clowdy.server.errors import GitError
from clowdy.server.git.advertisement import capabilities_of, for_pushes, preamble
from clowdy.server.git.hook_messages import (
    Move,
    ProcReceive,
    Verdict,
    parse_pre_receive,
    parse_proc_receive,
    report,
)
from clowdy.server.git.pkt import FLUSH, pkt, split
from clowdy.server.git.refnames import NULL

OLD, NEW, TAG = "11" * 20, "22" * 20, "33" * 20
MAIN, LIVE = "refs/heads/main", "refs/heads/live"


def asked(*refs: str) -> ProcReceive:
    return ProcReceive("id", "/x", tuple((OLD, NEW, ref) for ref in refs), (), False)


def lines(data: bytes) -> list[bytes | None]:
    return list(split(data))


def test_ok_stands_before_every_group_of_options() -> None:
    moves = (Move(MAIN, OLD, NEW), Move(LIVE, OLD, NEW, forced=True), Move("refs/tags/deploy/1", NULL, TAG))
    said = report(asked(MAIN), [Verdict(MAIN, True, moves=moves)])
    assert lines(said) == [
        b"ok refs/heads/main",
        b"option refname refs/heads/main",
        b"option old-oid " + OLD.encode(),
        b"option new-oid " + NEW.encode(),
        b"ok refs/heads/main",
        b"option refname refs/heads/live",
        b"option old-oid " + OLD.encode(),
        b"option new-oid " + NEW.encode(),
        b"option forced-update",
        b"ok refs/heads/main",
        b"option refname refs/tags/deploy/1",
        b"option old-oid " + NULL.encode(),
        b"option new-oid " + TAG.encode(),
        None,
    ]


def test_verdicts_come_in_git_s_order_and_none_is_a_refusal() -> None:
    said = report(asked("refs/heads/a", "refs/heads/b", "refs/heads/c"), [Verdict("refs/heads/c", True)])
    assert lines(said) == [
        b"ng refs/heads/a the server gave no answer",
        b"ng refs/heads/b the server gave no answer",
        b"ok refs/heads/c",
        None,
    ]


def test_a_reason_is_one_short_line_that_no_terminal_obeys() -> None:
    said = report(asked(MAIN), [Verdict(MAIN, False, "a\nb\x1b[31m\u202e" + "x" * 500)])
    line = lines(said)[0]
    assert line is not None
    text = line.decode()
    assert not set("\n\x1b\u202e") & set(text)
    assert len(text) <= len(f"ng {MAIN} ") + 200


def test_what_proc_receive_hands_over() -> None:
    talk = pkt(b"version=1\0push-options atomic\n") + FLUSH
    talk += pkt(f"{OLD} {NEW} {MAIN}".encode()) + pkt(f"{NULL} {NEW} refs/tags/a b\n".encode()) + FLUSH
    talk += pkt(b"plan") + pkt(b"a=b; c") + FLUSH
    assert parse_proc_receive("id", "/cwd", talk) == ProcReceive(
        "id", "/cwd", ((OLD, NEW, MAIN), (NULL, NEW, "refs/tags/a b")), ("plan", "a=b; c"), True
    )


@pytest.mark.parametrize(
    "talk",
    [
        b"",
        FLUSH,
        pkt(b"version=2") + FLUSH + FLUSH,
        pkt(b"version=1\0push-options") + FLUSH + FLUSH,
        pkt(b"version=1") + FLUSH + FLUSH + FLUSH,
        pkt(b"version=1") + FLUSH + pkt(b"only") + FLUSH,
        pkt(b"version=1") + FLUSH + pkt(b"a b c"),
        b"zzzz",
        b"0003",
        b"00ff" + b"short",
    ],
)
def test_anything_else_is_refused(talk: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_proc_receive("id", "/cwd", talk)


def test_what_pre_receive_reports() -> None:
    line = f"{OLD} {NEW} {MAIN}\n".encode()
    parsed = parse_pre_receive("id", "/cwd", b"pre-receive\nformat text\nobjects /q uarantine\n" + line + line + b"\n")
    assert parsed.refs == ((OLD, NEW, MAIN), (OLD, NEW, MAIN))
    assert parsed.object_directory == "/q uarantine"
    plain = parse_pre_receive("id", "/cwd", b"pre-receive\nformat text\nobjects \n" + line + b"\n")
    assert (plain.object_directory, plain.json) == ("", False)
    assert parse_pre_receive("id", "/cwd", b"pre-receive\nformat json\nobjects \n" + line + b"\n").json
    for wrong in (
        b"\n\n",
        b"proc-receive\nobjects /q\n\n",
        b"pre-receive\n\n",
        b"pre-receive\nformat text\nobjects \nx\n\n",
        b"pre-receive\nformat x\nobjects \n\n",
    ):
        with pytest.raises(ValueError, match=r"."):
            parse_pre_receive("id", "/cwd", wrong)


def test_live_is_shown_as_not_there_and_internal_refs_not_at_all() -> None:
    shown = lines(for_pushes({MAIN: NEW, LIVE: OLD, "refs/clowdy/live": OLD}, b"report-status atomic\n"))
    assert shown == [
        f"{NULL} {LIVE}\0report-status atomic\n".encode(),
        f"{NEW} {MAIN}\n".encode(),
        None,
    ]
    nothing = [f"{NULL} capabilities^{{}}\0report-status\n".encode(), None]
    assert lines(for_pushes({"refs/clowdy/live": OLD}, b"report-status\n")) == nothing
    assert lines(for_pushes({}, b"report-status\n")) == nothing


def test_capabilities_are_git_s_own() -> None:
    assert capabilities_of(pkt(b"0 capabilities^{}\0a b=c\n") + FLUSH) == b"a b=c\n"


@pytest.mark.parametrize("said", [b"", FLUSH, pkt(b"no capabilities") + FLUSH, b"fatal: x"])
def test_a_broken_advertisement_is_git_s_error(said: bytes) -> None:
    with pytest.raises(GitError):
        capabilities_of(said)


def test_the_preamble_has_the_length_that_git_wants() -> None:
    assert preamble("git-upload-pack") == b"001e# service=git-upload-pack\n0000"
    assert preamble("git-receive-pack") == b"001f# service=git-receive-pack\n0000"


def test_a_line_that_does_not_fit_is_not_written() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        pkt(b"x" * 65517)
