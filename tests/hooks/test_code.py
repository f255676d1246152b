"""Which files are a function's code."""

from __future__ import annotations

from typing import Any

import pytest

from clowdy.hooks.code import filtered, inside, outermost, read_patterns
from clowdy.hooks.ignore import IgnoreError
from clowdy.hooks.tree import Kind

FILES = {
    "clowdy.yaml": "",
    "README.md": "",
    "api/users.py": "",
    "api/notes.md": "",
    "api/tests/test_users.py": "",
    "api-old/a.py": "",
    "docs/a.txt": "",
    "lib/db.py": "",
    "tests/test_a.py": "",
    ".github/workflow.yml": "",
}


def paths(tree: Any, *sources: str) -> list[str]:
    return [entry.path for entry in filtered(tree, sources, read_patterns(tree))]


def test_without_an_ignore_file_the_default_leaves_out_what_no_function_needs(tree_of: Any) -> None:
    assert paths(tree_of(FILES), ".") == ["api-old/a.py", "api/tests/test_users.py", "api/users.py", "lib/db.py"]


def test_an_ignore_file_replaces_the_default(tree_of: Any) -> None:
    tree = tree_of({**FILES, ".clowdyignore": "*\n!*.md\n"})

    assert paths(tree, ".") == ["README.md"]


def test_sources_are_united_and_no_file_comes_twice(tree_of: Any) -> None:
    tree = tree_of(FILES)

    assert paths(tree, "lib", "api", "api/tests") == ["api/tests/test_users.py", "api/users.py", "lib/db.py"]
    assert paths(tree, "api", "api-old") == ["api-old/a.py", "api/tests/test_users.py", "api/users.py"]


def test_links_are_listed_so_that_the_check_can_refuse_them(tree_of: Any) -> None:
    tree = tree_of({"api/link": Kind.SYMLINK, "api/lib": Kind.SUBMODULE})

    assert [entry.kind for entry in filtered(tree, ["api"], read_patterns(tree))] == [Kind.SUBMODULE, Kind.SYMLINK]


@pytest.mark.parametrize("kind", [Kind.SYMLINK, Kind.SUBMODULE])
def test_an_ignore_file_that_is_a_link_is_refused(tree_of: Any, kind: Kind) -> None:
    with pytest.raises(IgnoreError, match=f".clowdyignore is a {kind.value}, it must be a file"):
        read_patterns(tree_of({".clowdyignore": kind}))


def test_outermost_folders() -> None:
    assert outermost(["api/deep", "api", "api-old", "api"]) == ["api", "api-old"]
    assert outermost(["api", "."]) == ["."]
    assert not inside("api-old/a.py", "api")
