"""What hooks and server say to each other, as bytes and as values. Pure.

Pre-receive sends lines up to an empty one: its name, the format that the pusher wants to read, where git keeps the
objects apart, and git's ref lines. It gets lines of text and at last `accepted` or `refused`. Proc-receive sends its
name and then what git says to it, and gets what git shall hear. A ref name cannot pose as another line: git asks
proc-receive with whole names, and one that was not reported so refuses the push.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clowdy.schema.text import printable
from clowdy.server.git.pkt import FLUSH, pkt, split

REASON_LENGTH = 200
PROC_RECEIVE = b"proc-receive\n"

Line = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class PreReceive:
    """What pre-receive reports: the push, and where git keeps its objects apart (empty when it brings none).

    `refs` are (old, new, ref) with 40 zeros for none; `json` tells that the pusher reads JSON.
    """

    push_id: str
    cwd: str
    refs: tuple[Line, ...]
    object_directory: str
    json: bool = False


@dataclass(frozen=True, slots=True)
class ProcReceive:
    """What proc-receive asks: these refs, whose objects are in the store now."""

    push_id: str
    cwd: str
    refs: tuple[Line, ...]
    options: tuple[str, ...]
    atomic: bool


@dataclass(frozen=True, slots=True)
class Move:
    """A ref that really moved, as git's own table shall show it; ids with 40 zeros for none."""

    ref: str
    old: str
    new: str
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one ref of a push. Without `moves`, an accepted one moved as it was asked to."""

    ref: str
    accepted: bool
    reason: str = ""
    moves: tuple[Move, ...] = ()


def parse_pre_receive(push_id: str, cwd: str, message: bytes) -> PreReceive:
    """The report of pre-receive; raises ValueError."""
    name, wanted, objects, *lines = _text(message.removesuffix(b"\n\n")).split("\n")
    known = ("format text", "format json")
    if name != "pre-receive" or wanted not in known or not objects.startswith("objects "):
        raise ValueError("a hook did not say what it was expected to")
    refs = tuple(_line(line) for line in lines)
    return PreReceive(push_id, cwd, refs, objects.removeprefix("objects "), wanted == "format json")


def parse_proc_receive(push_id: str, cwd: str, talk: bytes) -> ProcReceive:
    """What git asks of proc-receive, from its own bytes; raises ValueError."""
    sections: list[list[bytes]] = [[]]
    for line in split(talk):
        if line is None:
            sections.append([])
        else:
            sections[-1].append(line)
    if sections.pop() or not 2 <= len(sections) <= 3 or len(sections[0]) != 1:
        raise ValueError("git's lines are not those of proc-receive")
    version, _, capabilities = sections[0][0].partition(b"\0")
    if version.strip() != b"version=1":
        raise ValueError(f"proc-receive of {version!r} is not known here")
    agreed = capabilities.split()
    if (b"push-options" in agreed) != (len(sections) == 3):
        raise ValueError("push options were not sent as agreed")
    options = sections[2] if len(sections) == 3 else []
    return ProcReceive(
        push_id=push_id,
        cwd=cwd,
        refs=tuple(_line(_text(line).removesuffix("\n")) for line in sections[1]),
        options=tuple(_text(option).removesuffix("\n") for option in options),
        atomic=b"atomic" in agreed,
    )


def report(push: ProcReceive, verdicts: Iterable[Verdict]) -> bytes:
    """The pkt-lines for git: each ref in the order that git asked; one without a verdict is refused."""
    by_ref = {verdict.ref: verdict for verdict in verdicts}
    answer = bytearray()
    for _, _, ref in push.refs:
        verdict = by_ref.get(ref) or Verdict(ref, False, "the server gave no answer")
        if not verdict.accepted:
            reason = printable(verdict.reason.strip(), REASON_LENGTH) or "refused"
            answer += pkt(f"ng {ref} {reason}".encode("utf-8", "surrogateescape"))
            continue
        for move in verdict.moves or (None,):
            # `ok` stands before every group of options: with one alone, git reports the last group only.
            answer += pkt(f"ok {ref}".encode())
            if move is not None:
                answer += pkt(f"option refname {move.ref}".encode())
                answer += pkt(f"option old-oid {move.old}".encode())
                answer += pkt(f"option new-oid {move.new}".encode())
                if move.forced:
                    answer += pkt(b"option forced-update")
    return bytes(answer + FLUSH)


def _line(line: str) -> Line:
    old, _, rest = line.partition(" ")
    new, _, ref = rest.partition(" ")
    if not ref:
        raise ValueError("a ref line is cut")
    return old, new, ref


def _text(field: bytes) -> str:
    return field.decode("utf-8", "surrogateescape")
