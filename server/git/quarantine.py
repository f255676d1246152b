"""What a push brings, judged while git keeps it apart: limits, and trees that could not be laid out.

Everything is done by sizes and structure, in bounded memory and time; the content of files is never read. What goes
wrong on the way refuses the push.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clowdy.server.config import PushLimits
from clowdy.server.errors import ClowdyError, Invalid
from clowdy.server.git.hook_messages import PreReceive
from clowdy.server.git.objects import Objects, is_id
from clowdy.server.git.peel import STRUCTURE_BYTES, peel
from clowdy.server.git.refnames import NULL, is_ref
from clowdy.server.git.repos import Repository
from clowdy.server.git.settings import shown_size
from clowdy.server.git.trees import Trees
from clowdy.server.git.values import parse_commit

# Types and sizes are remembered for this many objects of one push; of more, only sums are kept.
REMEMBERED = 50_000


def judge(repository: Repository, push: PreReceive) -> list[str]:
    """The reasons why a push is refused as a whole, none when it may go on. Blocks."""
    limits = repository.settings.limits
    try:
        _judge_names(push.refs, limits)
        objects = _quarantined(repository, push)
        try:
            if objects is not repository.objects:
                _judge_objects(objects, limits)
            return _judge_tips(repository, objects, push.refs, limits)
        finally:
            if objects is not repository.objects:
                objects.close()
    except ClowdyError as error:
        return [error.message]
    except (OSError, ValueError, RecursionError) as error:
        return [f"the push cannot be judged: {error}"]


def _judge_names(refs: Sequence[tuple[str, str, str]], limits: PushLimits) -> None:
    if len(refs) > limits.refs:
        raise Invalid(f"the push has more than {limits.refs:,} refs")
    seen: set[str] = set()
    for old, new, ref in refs:
        if not is_ref(ref):
            raise Invalid(f"{ref[:100]!a} is not a ref name")
        if not is_id(old) or not is_id(new):
            raise Invalid(f"{ref} has no object id")
        if ref in seen:
            raise Invalid(f"{ref} is named twice")
        seen.add(ref)


def _quarantined(repository: Repository, push: PreReceive) -> Objects:
    # A push that only deletes brings nothing and has no quarantine.
    if not push.object_directory:
        return repository.objects
    folder = (Path(push.cwd) / push.object_directory).resolve()
    if folder.parent != (repository.path / "objects").resolve() or not folder.name.startswith("tmp_objdir-"):
        raise Invalid("the push cannot be judged: its objects are not where git keeps them")
    return Objects(repository.settings.git, repository.path, folder, repository.objects)


def _judge_objects(objects: Objects, limits: PushLimits) -> None:
    packed = any(objects.folder.glob("pack/*.pack"))
    headers = _packed_headers(objects) if packed else _loose_headers(objects)
    total = 0
    for kind, oid, size in headers:
        total += size
        if kind != "blob" and size > STRUCTURE_BYTES:
            raise Invalid(f"the {kind} {oid} has {shown_size(size)}, at most {shown_size(STRUCTURE_BYTES)} are taken")
        if total > limits.unpacked_bytes:
            raise Invalid(
                f"the push is larger than {shown_size(limits.unpacked_bytes)} unpacked; "
                "a long history can be pushed in parts"
            )
    if len(headers) <= REMEMBERED:
        objects.remember({oid: size for _, oid, size in headers})


def _packed_headers(objects: Objects) -> list[tuple[str, str, int]]:
    answer = objects.batch_check(
        ["--batch-all-objects", "--unordered", "--batch-check=%(objecttype) %(objectname) %(objectsize)"], alone=True
    )
    headers: list[tuple[str, str, int]] = []
    for line in answer.decode().splitlines():
        kind, oid, size = line.split(" ")
        headers.append((kind, oid, int(size)))
    return headers


def _loose_headers(objects: Objects) -> list[tuple[str, str, int]]:
    headers: list[tuple[str, str, int]] = []
    for file in objects.folder.glob("??/*"):
        oid = file.parent.name + file.name
        header = objects.loose_header(oid) if is_id(oid) else None
        if header is not None:
            headers.append((header[0], oid, header[1]))
    return headers


def _judge_tips(
    repository: Repository, objects: Objects, refs: Sequence[tuple[str, str, str]], limits: PushLimits
) -> list[str]:
    trees = Trees(repository.trees.owner, objects, repository.trees.memory)
    reasons: list[str] = []
    judged: set[str] = set()
    for _, new, ref in refs:
        if new == NULL or new in judged:
            continue
        judged.add(new)
        commit = peel(objects, new).commit
        if commit is None:
            continue
        try:
            trees.totals(parse_commit(commit, objects.read_typed(commit, "commit")).tree, limits)
        except Invalid as error:
            reasons.append(f"{ref}: {error.message}")
    return reasons
