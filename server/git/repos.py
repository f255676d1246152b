"""The bare repositories of the data directory, one a project, under ids that the server made."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from clowdy.server.errors import Invalid, NotFound
from clowdy.server.git import history, refs
from clowdy.server.git.code import CodeMemory, GitCode, code_of
from clowdy.server.git.history import Changes
from clowdy.server.git.loose import Drafts
from clowdy.server.git.objects import Objects, OpenStores
from clowdy.server.git.peel import peel
from clowdy.server.git.refnames import is_ref
from clowdy.server.git.settings import GitSettings
from clowdy.server.git.trees import GitTree, TreeMemory, Trees, TreeTotals
from clowdy.server.git.values import Commit, Peeled, Tag, commit_bytes, parse_commit, parse_tag, tag_bytes

_project_id = re.compile(r"[0-9a-f]{12}")

_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"


class Repository:
    """One bare repository. What it does blocks and may be called from any thread.

    Files and memory are opened when they are needed, and let go by `close`, after which it can be used again.
    """

    def __init__(
        self, path: Path, settings: GitSettings, memory: TreeMemory, codes: CodeMemory, opened: OpenStores
    ) -> None:
        self.path = path
        self.settings = settings
        self.objects = Objects(settings.git, path, path / "objects", opened=opened)
        self.trees = Trees(path.name, self.objects, memory)
        self._codes = codes

    def ref(self, name: str) -> str | None:
        """The id that a ref holds, None when there is none of that name."""
        return refs.read_ref(self.path, name)

    def refs(self, prefix: str = "refs/") -> dict[str, str]:
        """Every ref whose name begins with `prefix`."""
        return refs.read_refs(self.path, prefix)

    def head(self) -> str:
        """The full name of the branch that a clone checks out."""
        return (self.path / "HEAD").read_text().removeprefix("ref: ").strip()

    def set_head(self, branch: str) -> None:
        """Makes `branch` (a full name) what a clone checks out; on disk when this returns."""
        if not is_ref(branch) or not branch.startswith("refs/heads/"):
            raise Invalid(f"{branch!r} is not a branch")
        _write_synced(self.path / "HEAD", f"ref: {branch}\n")

    def peel(self, oid: str) -> Peeled:
        """The commit that an object leads to through any tags; raises NotFound when there is no such object."""
        return peel(self.objects, oid)

    def has_commit(self, oid: str) -> bool:
        """Whether a commit of that id is here."""
        try:
            return self.objects.read(oid)[0] == "commit"
        except NotFound:
            return False

    def commit(self, oid: str) -> Commit:
        """One commit; raises NotFound."""
        return parse_commit(oid, self.objects.read_typed(oid, "commit"))

    def tag(self, oid: str) -> Tag:
        """One tag object; raises NotFound."""
        return parse_tag(oid, self.objects.read_typed(oid, "tag"))

    def tree(self, oid: str) -> GitTree:
        """The tree of a commit, or a tree itself; raises NotFound."""
        kind, content = self.objects.read(oid)
        if kind == "commit":
            return GitTree(self.trees, parse_commit(oid, content).tree)
        if kind != "tree":
            raise NotFound(f"{oid} is a {kind}, not a tree")
        return GitTree(self.trees, oid)

    def count(self, tree: str) -> TreeTotals:
        """What is below a tree; raises Invalid when it is over the limits of a push."""
        return self.trees.totals(tree, self.settings.limits)

    def code(self, tree: str, sources: Sequence[str]) -> GitCode:
        """The function's code: what is below `sources` less what `.clowdyignore` leaves out."""
        return code_of(self.trees, tree, tuple(sources), self._codes)

    def read_blob(self, oid: str) -> bytes:
        """The content of a file; raises NotFound."""
        return self.objects.read_typed(oid, "blob")

    def write_blob(self, content: bytes) -> str:
        """The id of a new blob, on disk when this returns."""
        return self.objects.write("blob", content)

    def drafts(self) -> Drafts:
        """Takes new objects that are to be on disk together, for `write_commit` and `write_tag`."""
        return self.objects.drafts()

    def write_commit(
        self,
        files: Mapping[str, bytes],
        parents: Sequence[str],
        message: str,
        who: str,
        at: float,
        drafts: Drafts | None = None,
        *,
        kept: Mapping[str, str] | None = None,
    ) -> str:
        """The id of a new commit that holds `files` at its root, no ref moves.

        `kept` are ids of blobs that are here already, by name. It is on disk when this returns, or once `drafts` are
        written.
        """
        new = drafts or self.drafts()
        blobs = {**(kept or {}), **{name: new.add("blob", content) for name, content in files.items()}}
        tree = b"".join(
            b"100644 %s\0%s" % (name.encode(), bytes.fromhex(blobs[name])) for name in sorted(blobs, key=str.encode)
        )
        oid = new.add("commit", commit_bytes(new.add("tree", tree), parents, message, who, at))
        if drafts is None:
            new.write()
        return oid

    def write_tag(self, name: str, target: str, message: str, who: str, at: float, drafts: Drafts | None = None) -> str:
        """The id of a new annotated tag of a commit, no ref moves; on disk as `write_commit` says."""
        new = drafts or self.drafts()
        oid = new.add("tag", tag_bytes(name, target, message, who, at))
        if drafts is None:
            new.write()
        return oid

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` contains `old`: a push from one to the other loses nothing."""
        return history.is_ancestor(self, old, new)

    def log(self, commit: str, *, path: str | None = None, limit: int = 50) -> list[Commit]:
        """The newest commits that `commit` contains, those that changed `path` when it is given."""
        return history.log(self, commit, path=path, limit=limit)

    def between(self, old: str, new: str, limit: int = 50) -> list[str]:
        """The ids of the newest commits that `new` contains and `old` does not."""
        return history.between(self, old, new, limit)

    def merge_base(self, one: str, other: str) -> str | None:
        """The newest commit that both contain, or None."""
        return history.merge_base(self, one, other)

    def history(self, path: str, commit: str, limit: int = 50) -> list[Commit]:
        """The newest commits that changed `path`."""
        return history.log(self, commit, path=path, limit=limit)

    def differences(self, old: str, new: str) -> dict[str, Changes]:
        """Lines added and removed in each file between two trees or commits."""
        return history.differences(self, old, new)

    def close(self) -> None:
        """Lets go of files and memory; the next read sees packs that maintenance replaced."""
        self.objects.close()


class Repositories:
    """Every project's repository below one folder. Those that were used last keep their files open."""

    def __init__(self, root: Path, settings: GitSettings) -> None:
        self.settings = settings
        self._root = root
        self._memory = TreeMemory()
        self._codes = CodeMemory()
        self._lock = threading.Lock()
        self._open_stores = OpenStores()
        self._known: dict[str, Repository] = {}

    def path(self, project_id: str) -> Path:
        """Where the repository of a project lies; an id that the server did not make raises NotFound."""
        if _project_id.fullmatch(project_id) is None:
            raise NotFound(f"{project_id!r} is not a project's id")
        return self._root / f"{project_id}.git"

    def exists(self, project_id: str) -> bool:
        """Whether the project has a repository."""
        return (self.path(project_id) / "HEAD").is_file()

    def every(self) -> list[str]:
        """The ids of all projects that have one."""
        if not self._root.is_dir():
            return []
        names = [entry.name.removesuffix(".git") for entry in self._root.iterdir() if entry.suffix == ".git"]
        return sorted(name for name in names if _project_id.fullmatch(name) and self.exists(name))

    def create(self, project_id: str) -> Repository:
        """A new empty repository, whole and on disk when this returns."""
        path = self.path(project_id)
        if path.exists():
            raise Invalid(f"project {project_id} has a repository already")
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_bare(path)
        return self.open(project_id)

    def open(self, project_id: str) -> Repository:
        """The project's repository; raises NotFound when it has none."""
        with self._lock:
            known = self._known.get(project_id)
        if known is not None:
            return known
        if not self.exists(project_id):
            raise NotFound(f"project {project_id} has no repository")
        with self._lock:
            return self._known.setdefault(project_id, self.at(self.path(project_id)))

    def at(self, path: Path) -> Repository:
        """The repository of any folder, not kept."""
        return Repository(path, self.settings, self._memory, self._codes, self._open_stores)

    def empty(self) -> Path:
        """An empty repository that nobody writes to: what is shown where a push may create a project."""
        path = self._root / ".empty.git"
        if not path.exists():
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            make_bare(path)
        return path

    def remove(self, project_id: str) -> None:
        """Deletes a project's repository; it is gone for every reader at once."""
        path = self.path(project_id)
        with self._lock:
            repository = self._known.pop(project_id, None)
        if repository is not None:
            repository.close()
        if not path.exists():
            return
        grave = path.with_name(f".removed-{secrets.token_hex(6)}")
        path.rename(grave)
        shutil.rmtree(grave)

    def clear(self) -> None:
        """Deletes what an interrupted `create` or `remove` left."""
        for entry in self._root.glob(".*-*") if self._root.is_dir() else ():
            if entry.name.startswith((".removed-", ".new-")):
                shutil.rmtree(entry, ignore_errors=True)

    def close(self) -> None:
        """Lets go of every repository."""
        with self._lock:
            repositories = list(self._known.values())
            self._known.clear()
        for repository in repositories:
            repository.close()


def make_bare(path: Path, branch: str = "refs/heads/main") -> None:
    """An empty bare repository at `path`, which appears there whole."""
    new = path.with_name(f".new-{secrets.token_hex(6)}")
    new.mkdir(mode=0o700)
    for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
        (new / folder).mkdir(parents=True)
    _write_synced(new / "config", _CONFIG)
    _write_synced(new / "HEAD", f"ref: {branch}\n")
    new.rename(path)
    _sync_folder(path.parent)


def _write_synced(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.lock")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
