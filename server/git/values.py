"""Commits and tags as values, read from git's own bytes and written as them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Peeled(NamedTuple):
    """What an object leads to: the commit, and the tag object that was begun with; None for what there is not."""

    commit: str | None
    tag: str | None


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit. `time` is the committer's, in seconds since 1970."""

    id: str
    tree: str
    parents: tuple[str, ...]
    subject: str
    message: str
    author_name: str
    author_email: str
    time: float


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag object. `target_type` is `commit`, `tree`, `blob` or `tag`."""

    id: str
    target: str
    target_type: str
    name: str
    message: str
    tagger: str
    time: float


def parse_commit(oid: str, content: bytes) -> Commit:
    """The commit that git stores as `content`; raises ValueError when it has no tree."""
    headers, message = _split(content)
    tree = _first(headers, b"tree")
    if tree is None:
        raise ValueError(f"commit {oid} has no tree")
    author_name, author_email, _ = _person(_first(headers, b"author"))
    _, _, time = _person(_first(headers, b"committer"))
    return Commit(
        id=oid,
        tree=tree.decode("ascii", "replace"),
        parents=tuple(value.decode("ascii", "replace") for key, value in headers if key == b"parent"),
        subject=message.strip().partition("\n")[0].strip(),
        message=message,
        author_name=author_name,
        author_email=author_email,
        time=time,
    )


def parse_tag(oid: str, content: bytes) -> Tag:
    """The tag that git stores as `content`; raises ValueError when it has no target."""
    headers, message = _split(content)
    target, kind = _first(headers, b"object"), _first(headers, b"type")
    if target is None or kind is None:
        raise ValueError(f"tag {oid} has no target")
    tagger, _, time = _person(_first(headers, b"tagger"))
    return Tag(
        id=oid,
        target=target.decode("ascii", "replace"),
        target_type=kind.decode("ascii", "replace"),
        name=(_first(headers, b"tag") or b"").decode(errors="replace"),
        message=message,
        tagger=tagger,
        time=time,
    )


def commit_bytes(tree: str, parents: Sequence[str], message: str, who: str, at: float) -> bytes:
    """A commit as git stores it."""
    person = _signature(who, at)
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents), f"author {person}", f"committer {person}"]
    return "\n".join([*lines, "", message]).encode()


def tag_bytes(name: str, target: str, message: str, who: str, at: float) -> bytes:
    """An annotated tag of a commit as git stores it."""
    lines = [f"object {target}", "type commit", f"tag {name}", f"tagger {_signature(who, at)}"]
    return "\n".join([*lines, "", message]).encode()


def _signature(who: str, at: float) -> str:
    name = "".join(character for character in who if character.isprintable() and character not in "<>").strip()
    address = "".join(character for character in name if character.isascii() and character.isalnum()) or "clowdy"
    return f"{name or 'clowdy'} <{address}@clowdy.invalid> {int(at)} +0000"


def _split(content: bytes) -> tuple[list[tuple[bytes, bytes]], str]:
    head, _, message = content.partition(b"\n\n")
    headers = [line.partition(b" ") for line in head.split(b"\n") if not line.startswith(b" ")]
    return [(key, value) for key, _, value in headers], message.decode(errors="replace")


def _first(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    return next((value for key, value in headers if key == name), None)


def _person(line: bytes | None) -> tuple[str, str, float]:
    name, _, rest = (line or b"").partition(b"<")
    address, _, when = rest.partition(b">")
    seconds = when.split()[:1]
    # Histories hold dates of any shape; one that is no plain number counts as 1970.
    time = float(seconds[0]) if seconds and seconds[0].isdigit() and len(seconds[0]) < 12 else 0.0
    return name.decode(errors="replace").strip(), address.decode(errors="replace").strip(), time
