"""Notes on commits, as git-notes(1) lays them out: a tree that names each note after the commit it is on.

The fan-out of two digits keeps a release from rewriting a long list: one of 256 small trees changes.
"""

from __future__ import annotations

from clowdy.hooks.tree import Kind
from clowdy.server.git.repos import Repository
from clowdy.server.git.values import commit_bytes


def read_note(repository: Repository, tip: str | None, commit: str) -> str:
    """The note on a commit under the notes commit `tip`, or nothing."""
    if tip is None:
        return ""
    entry = repository.tree(tip).entry(f"{commit[:2]}/{commit[2:]}")
    return repository.read_blob(entry.id).decode(errors="replace") if entry is not None else ""


def write_note(repository: Repository, tip: str | None, commit: str, text: str, who: str, at: float) -> str:
    """The id of a notes commit after `tip` in which `commit` has this note; no ref moves."""
    folders = _entries(repository, repository.tree(tip).id) if tip is not None else {}
    folder = folders.get(commit[:2])
    notes = _entries(repository, folder[1]) if folder is not None else {}
    notes[commit[2:]] = (b"100644", repository.write_blob(text.encode()))
    folders[commit[:2]] = (b"40000", _write_tree(repository, notes))
    parents = [tip] if tip is not None else []
    content = commit_bytes(_write_tree(repository, folders), parents, "Notes of deploys\n", who, at)
    return repository.objects.write("commit", content)


def _entries(repository: Repository, tree: str) -> dict[str, tuple[bytes, str]]:
    return {
        node.name: (b"40000" if node.kind is Kind.FOLDER else b"100644", node.id)
        for node in repository.trees.nodes(tree)
    }


def _write_tree(repository: Repository, entries: dict[str, tuple[bytes, str]]) -> str:
    # Names are hex digits of one length, so that git's order of a tree is the plain one.
    content = b"".join(
        b"%s %s\0%s" % (mode, name.encode(), bytes.fromhex(oid)) for name, (mode, oid) in sorted(entries.items())
    )
    return repository.objects.write("tree", content)
