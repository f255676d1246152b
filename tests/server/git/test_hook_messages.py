"""Hook messages, pkt-lines and advertisements, from bytes to values and back."""

from __future__ import annotations

import pytest

from clowdy.server.errors import GitError
from clowdy.server.git.advertisement import for_pushes, preamble
from clowdy.server.git.hook_messages import (
    NULL,
    Move,
    ProcReceive,
    Verdict,
    parse_fields,
    parse_pre_receive,
    parse_proc_receive,
    report,
)
from clowdy.server.git.pkt import FLUSH, pkt, split

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
    assert parse_proc_receive([b"id", b"/cwd", talk]) == ProcReceive(
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
        parse_proc_receive([b"id", b"/cwd", talk])


def test_what_pre_receive_reports() -> None:
    line = f"{OLD} {NEW} {MAIN}\n".encode()
    parsed = parse_pre_receive([b"id", b"/cwd", b"/q", b"/a:/b", line + line])
    assert parsed.refs == ((OLD, NEW, MAIN), (OLD, NEW, MAIN))
    assert parsed.alternates == ("/a", "/b")
    for wrong in (line[:-1], b"x\n", b"\n"):
        with pytest.raises(ValueError, match="cut"):
            parse_pre_receive([b"id", b"/cwd", b"/q", b"", wrong])
    with pytest.raises(ValueError, match=r"."):
        parse_pre_receive([b"id"])


def test_fields_are_whole_or_refused() -> None:
    assert parse_fields(b"\0\0\0\x01a\0\0\0\0") == [b"a", b""]
    for cut in (b"\0\0\0\x02a", b"\0\0", b"\xff\xff\xff\xffa"):
        with pytest.raises(ValueError, match="cut"):
            parse_fields(cut)


def advertised(*refs: str) -> bytes:
    first, *rest = refs
    return pkt(f"{first}\0report-status atomic\n".encode()) + b"".join(pkt(f"{ref}\n".encode()) for ref in rest) + FLUSH


def test_live_is_shown_as_not_there_and_internal_refs_not_at_all() -> None:
    shown = lines(for_pushes(advertised(f"{OLD} refs/clowdy/live", f"{OLD} {LIVE}", f"{NEW} {MAIN}")))
    assert shown == [
        f"{NULL} {LIVE}\0report-status atomic\n".encode(),
        f"{NEW} {MAIN}\n".encode(),
        None,
    ]
    hidden = lines(for_pushes(advertised(f"{OLD} refs/clowdy/live")))
    assert hidden == [f"{NULL} capabilities^{{}}\0report-status atomic\n".encode(), None]
    empty = advertised(f"{NULL} capabilities^{{}}")
    assert for_pushes(empty) == empty
    with_version = pkt(b"version 1\n") + advertised(f"{NEW} {MAIN}")
    assert for_pushes(with_version) == with_version


@pytest.mark.parametrize("said", [b"", FLUSH, pkt(b"no capabilities") + FLUSH, b"fatal: x"])
def test_a_broken_advertisement_is_git_s_error(said: bytes) -> None:
    with pytest.raises(GitError):
        for_pushes(said)


def test_the_preamble_has_the_length_that_git_wants() -> None:
    assert preamble("git-upload-pack") == b"001e# service=git-upload-pack\n0000"
    assert preamble("git-receive-pack") == b"001f# service=git-receive-pack\n0000"


def test_a_line_that_does_not_fit_is_not_written() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        pkt(b"x" * 65517)
