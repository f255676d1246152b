"""Trees and code of a repository: right, and only what changed is looked at again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from clowdy.hooks.code import filtered, read_patterns
from clowdy.hooks.tree import Entry, Kind
from clowdy.server.errors import Invalid
from clowdy.server.git.objects import Objects
from clowdy.server.git.repos import Repository
from clowdy.server.git.trees import GitTree

from .packs import tree

FILE, EXECUTABLE, FOLDER, LINK, SUBMODULE = "100644", "100755", "40000", "120000", "160000"


def write(repository: Repository, files: dict[str, bytes]) -> str:
    """A tree object of nested folders."""
    here: dict[str, str] = {}
    folders: dict[str, dict[str, bytes]] = {}
    for path, content in files.items():
        name, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(name, {})[rest] = content
        else:
            here[name] = repository.write_blob(content)
    entries = [(FILE, name, oid) for name, oid in here.items()]
    entries += [(FOLDER, name, write(repository, inner)) for name, inner in folders.items()]
    entries.sort(key=lambda each: each[1] + ("/" if each[0] == FOLDER else ""))
    return repository.objects.write("tree", tree(*((mode, name.encode(), oid) for mode, name, oid in entries)))


FILES = {
    "a.py": b"1",
    "a/b.py": b"22",
    "a/c/d.py": b"333",
    "a.b": b"",
    "clowdy.yaml": b"functions: {}\n",
    "docs/x.md": b"x",
    "lib/docs/y.py": b"y",
}


@pytest.fixture
def view(repository: Repository) -> GitTree:
    return repository.tree(write(repository, FILES))


def test_a_walk_sees_every_path_in_order_with_its_size(view: GitTree) -> None:
    walked = list(view.walk("."))
    assert [entry.path for entry in walked] == sorted(FILES, key=str.encode)
    assert {entry.path: entry.size for entry in walked} == {path: len(content) for path, content in FILES.items()}
    assert [entry.path for entry in view.walk("a")] == ["a/b.py", "a/c/d.py"]
    assert list(view.walk("a.py")) == []
    assert list(view.walk("nothing")) == []


def test_entries(view: GitTree) -> None:
    entry = view.entry("a/c/d.py")
    assert entry == Entry("a/c/d.py", Kind.FILE, entry.id if entry else "", 3)
    assert view.read(entry, 3) == b"333"
    with pytest.raises(ValueError, match="more than 2"):
        view.read(entry, 2)
    assert view.entry("a/c") is not None
    folder = view.entry(".")
    assert folder is not None
    assert folder.kind is Kind.FOLDER
    for path in ("a.py/x", "nothing", "a/../a.py", "..", "/a.py", "a//b.py", "a/"):
        assert view.entry(path) is None


def test_links_are_not_followed_and_odd_names_are_kept(repository: Repository) -> None:
    blob = repository.write_blob(b"target")
    inner = repository.objects.write("tree", tree((FILE, b"f", blob)))
    oid = repository.objects.write(
        "tree",
        tree(
            (FILE, b"\xff\n", blob),
            (EXECUTABLE, b"exe", blob),
            (FOLDER, b"folder", inner),
            (LINK, b"link", blob),
            (SUBMODULE, b"sub", "ab" * 20),
        ),
    )
    view = repository.tree(oid)
    kinds = {entry.path: entry.kind for entry in view.walk(".")}
    assert kinds == {
        "\udcff\n": Kind.FILE,
        "exe": Kind.EXECUTABLE,
        "folder/f": Kind.FILE,
        "link": Kind.SYMLINK,
        "sub": Kind.SUBMODULE,
    }
    assert view.entry("link/f") is None
    assert view.entry("\udcff\n") is not None


def test_totals(repository: Repository) -> None:
    totals = repository.count(write(repository, FILES))
    assert (totals.files, totals.bytes, totals.depth, totals.folders) == (7, 22, 3, 5)


def test_one_changed_file_of_many_reads_its_own_folders_only(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"d{number % 20}/e{number % 7}/f{number}.py": b"%d" % number for number in range(1000)}
    before = write(repository, files)
    repository.count(before)
    assert repository.code(before, ["."]).file_count == len(list(repository.tree(before).walk(".")))
    after = write(repository, files | {"d3/e3/f3.py": b"changed"})
    read: list[str] = []
    original = Objects.read

    def spy(self: Objects, oid: str) -> tuple[str, bytes]:
        read.append(oid)
        return original(self, oid)

    monkeypatch.setattr(Objects, "read", spy)
    code = repository.code(after, ["."])
    repository.count(after)
    view = GitTree(repository.trees, after)
    assert len(list(view.walk("."))) == 1000
    # The root, one folder in it, one folder in that.
    assert len(read) == 3
    assert code.id != repository.code(before, ["."]).id


def test_code_is_what_the_filter_leaves(repository: Repository) -> None:
    oid = write(repository, FILES)
    code = repository.code(oid, ["."])
    assert [file.path for file in code.files()] == ["a.b", "a.py", "a/b.py", "a/c/d.py", "lib/docs/y.py"]
    assert code.file_count == 5
    assert code.total_bytes == 7
    assert code.read(code.files()[1].blob) == b"1"
    view = repository.tree(oid)
    assert [file.path for file in code.files()] == [entry.path for entry in filtered(view, ["."], read_patterns(view))]
    assert repository.code(oid, ["a", "a/c", "lib"]).file_count == 3
    assert repository.code(oid, ["nothing", "a.py"]).file_count == 0


def test_equal_code_has_equal_ids_and_what_is_left_out_does_not_count(repository: Repository) -> None:
    one = repository.code(write(repository, FILES), ["."])
    left_out = FILES | {"docs/z.md": b"new", "README.md": b"new", "clowdy.yaml": b"other"}
    assert repository.code(write(repository, left_out), ["."]).id == one.id
    assert repository.code(write(repository, FILES | {"a.py": b"2"}), ["."]).id != one.id
    assert repository.code(write(repository, FILES | {"b.py": b"1"}), ["."]).id != one.id
    ignoring = repository.code(write(repository, FILES | {".clowdyignore": b"*.py\n"}), ["."])
    assert "a.py" not in [file.path for file in ignoring.files()]
    assert repository.code(write(repository, FILES), ["a"]).id != repository.code(write(repository, FILES), ["lib"]).id


def test_an_executable_bit_is_a_change(repository: Repository) -> None:
    blob = repository.write_blob(b"x")
    plain = repository.objects.write("tree", tree((FILE, b"a", blob)))
    executable = repository.objects.write("tree", tree((EXECUTABLE, b"a", blob)))
    assert repository.code(plain, ["."]).id != repository.code(executable, ["."]).id
    assert repository.code(executable, ["."]).files()[0].executable


def test_a_refused_ignore_file_is_told(repository: Repository) -> None:
    oid = write(repository, FILES | {".clowdyignore": b"x\n" * 1000})
    with pytest.raises(Invalid, match=r"\.clowdyignore:201"):
        repository.code(oid, ["."])


def test_a_tree_that_git_made_reads_the_same_when_packed(repository: Repository, tmp_path: Path) -> None:
    oid = write(repository, {f"d/{number}.py": b"%d" % number for number in range(300)})
    commit = repository.objects.write(
        "commit", b"tree %s\nauthor a <a@b> 0 +0000\ncommitter a <a@b> 0 +0000\n\nx\n" % oid.encode()
    )
    loose = list(repository.tree(oid).walk("."))
    for arguments in (["update-ref", "refs/heads/main", commit], ["repack", "-adq"], ["prune-packed"]):
        subprocess.run(["git", "--git-dir", str(repository.path), *arguments], check=True)
    repository.close()
    fresh = Repository(
        repository.path,
        repository.settings,
        type(repository.trees.memory)(),
        type(repository._codes)(),
        repository.objects._open_stores,
    )
    assert list(fresh.tree(oid).walk(".")) == loose
    assert fresh.count(oid).files == 300
    fresh.close()
