"""Trees of a real clone and of a real folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from clowdy.hooks.check import judge_now
from clowdy.hooks.local import CommitTree, FolderTree, NoTree
from clowdy.hooks.report import problem_text
from clowdy.hooks.tree import Kind, TreeView


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=ana", "-c", "user.email=ana@example.org"]
    return subprocess.run(
        ["git", *identity, "-C", folder, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    return folder


def commit(folder: Path) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "x")
    return git(folder, "rev-parse", "HEAD")


def kinds(tree: TreeView, folder: str = ".") -> dict[str, Kind]:
    return {entry.path: entry.kind for entry in tree.walk(folder)}


def fill(folder: Path) -> None:
    (folder / "api").mkdir()
    (folder / "api-old").mkdir()
    (folder / "api" / "users.py").write_text("get = 1\n")
    (folder / "api" / "run").write_text("#!/bin/sh\n")
    (folder / "api" / "run").chmod(0o755)
    (folder / "api-old" / "a.py").write_text("")
    (folder / "link").symlink_to("/etc/passwd")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff name\n.py")).write_text("x")


EXPECTED = {
    "api-old/a.py": Kind.FILE,
    "api/run": Kind.EXECUTABLE,
    "api/users.py": Kind.FILE,
    "link": Kind.SYMLINK,
    "\udcff name\n.py": Kind.FILE,
}


def test_a_commit_is_read_as_git_has_it(clone: Path) -> None:
    fill(clone)
    oid = commit(clone)
    (clone / "api" / "users.py").write_text("changed, not committed")

    with CommitTree(clone) as tree:
        users = tree.entry("api/users.py")
        assert tree.commit == oid
        assert list(kinds(tree).items()) == list(EXPECTED.items())
        assert kinds(tree, "api") == {"api/run": Kind.EXECUTABLE, "api/users.py": Kind.FILE}
        assert users is not None
        assert (tree.read(users, 8), users.size, users.id) == (
            b"get = 1\n",
            8,
            git(clone, "rev-parse", "HEAD:api/users.py"),
        )
        with pytest.raises(ValueError, match="more than 7 bytes"):
            tree.read(users, 7)
        assert tree.read(users, 8) == b"get = 1\n"


def test_entries_are_what_they_are_and_nothing_stands_behind_a_link(clone: Path) -> None:
    fill(clone)
    commit(clone)

    for tree in (CommitTree(clone), FolderTree(clone)):
        folder, top = tree.entry("api"), tree.entry(".")
        assert folder is not None and folder.kind is Kind.FOLDER
        assert top is not None and top.kind is Kind.FOLDER
        assert tree.entry("link/x") is None
        assert tree.entry("ap") is None
        assert tree.entry("api/") is None


def test_a_clone_can_be_asked_from_below_its_top(clone: Path) -> None:
    fill(clone)
    commit(clone)

    with CommitTree(clone / "api") as tree:
        assert tree.entry("api/users.py") is not None


def test_submodules_are_told_from_folders(clone: Path, tmp_path: Path) -> None:
    inner = clone / "vendor"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "a.py").write_text("")
    commit(inner)

    before_it_is_added = FolderTree(clone)
    commit(clone)

    assert kinds(before_it_is_added) == {"vendor": Kind.SUBMODULE}
    assert kinds(FolderTree(clone)) == {"vendor": Kind.SUBMODULE}
    with CommitTree(clone) as tree:
        assert kinds(tree) == {"vendor": Kind.SUBMODULE}


def test_without_a_commit_or_a_clone_it_says_what_to_do(clone: Path, tmp_path: Path) -> None:
    with pytest.raises(NoTree, match="HEAD is no commit here: git add and git commit first"):
        CommitTree(clone)
    with pytest.raises(NoTree, match="not a git repository"):
        CommitTree(tmp_path)
    with pytest.raises(NoTree, match="is not a folder"):
        FolderTree(tmp_path / "nowhere")


def test_a_revision_is_never_an_option(clone: Path) -> None:
    fill(clone)
    commit(clone)

    with pytest.raises(NoTree, match="--all is no commit here"):
        CommitTree(clone, "--all")


def test_a_folder_shows_what_a_commit_would_take(clone: Path) -> None:
    fill(clone)
    (clone / ".gitignore").write_text("venv/\n")
    (clone / "venv").mkdir()
    (clone / "venv" / "python").symlink_to("/usr/bin/python3")

    tree = FolderTree(clone)

    assert kinds(tree) == {".gitignore": Kind.FILE, **EXPECTED}


def test_a_folder_outside_git_shows_everything(tmp_path: Path) -> None:
    fill(tmp_path)

    assert list(kinds(FolderTree(tmp_path)).items()) == list(EXPECTED.items())


def test_what_is_gone_from_disk_is_gone_and_nothing_is_read_through_a_link(clone: Path, tmp_path: Path) -> None:
    fill(clone)
    commit(clone)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "users.py").write_text("secret")
    (clone / "api-old" / "a.py").unlink()
    (clone / "api" / "users.py").rename(tmp_path / "users.py")
    (clone / "api" / "run").unlink()
    (clone / "api").rmdir()
    (clone / "api").symlink_to(tmp_path / "outside")

    tree = FolderTree(clone)

    api = tree.entry("api")
    assert api is not None and api.kind is Kind.SYMLINK
    assert tree.entry("api/users.py") is None
    assert tree.entry("api-old/a.py") is None


def test_a_file_that_becomes_a_link_or_a_pipe_is_not_followed(tmp_path: Path) -> None:
    fill(tmp_path)
    tree = FolderTree(tmp_path)
    users, old = tree.entry("api/users.py"), tree.entry("api-old/a.py")
    assert users is not None and old is not None
    (tmp_path / "api" / "users.py").unlink()
    (tmp_path / "api" / "users.py").symlink_to("/etc/passwd")
    (tmp_path / "api-old" / "a.py").unlink()
    os.mkfifo(tmp_path / "api-old" / "a.py")

    with pytest.raises(NoTree, match=r"api/users\.py cannot be read"):
        tree.read(users, 100)
    assert tree.read(old, 100) == b""


def test_commit_and_folder_are_judged_in_the_same_words(clone: Path) -> None:
    (clone / "clowdy.yaml").write_text("functions: {a: {handler: api/users.py:put}}\n")
    fill(clone)
    (clone / "link").unlink()
    commit(clone)

    with CommitTree(clone) as tree:
        of_commit = judge_now(tree)
    of_folder = judge_now(FolderTree(clone))

    assert of_commit.problems == of_folder.problems
    assert problem_text(of_commit.problems[0])[0] == (
        'clowdy.yaml:1:26: error[handler] api/users.py has no "put"; found: get'
    )
