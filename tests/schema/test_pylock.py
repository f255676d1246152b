"""A pylock.toml becomes pins."""

from __future__ import annotations

import pytest

from clowdy.hooks.syntax_worker import tabulate
from clowdy.schema.locks import chosen
from clowdy.schema.pylock import FILE, Pylock, read_pylock
from clowdy.schema.source import Source
from clowdy.schema.toml_places import TomlPlaces
from tests.schema.test_uv_lock import LINUX, words

HASH = "ab" * 32
TOP = 'lock-version = "1.0"\nrequires-python = ">=3.11"\ndefault-groups = ["main"]\n'


def package(more: str = "", *, name: str = "x", version: str = 'version = "1.0"') -> str:
    return (
        f'[[packages]]\nname = "{name}"\n{version}\n{more}\n'
        f'wheels = [{{ name = "x.whl", hashes = {{ sha256 = "{HASH}" }} }}]\n'
    )


def file(place: str) -> str:
    return package().replace('name = "x.whl"', place)


def read(text: str, python: str | None = None) -> tuple[Pylock, TomlPlaces]:
    places = TomlPlaces(Source("pylock.toml", text))
    return read_pylock(tabulate(text.encode())["table"], places, python), places


def test_names_versions_markers_and_hashes_are_taken() -> None:
    lock, places = read(TOP + package("marker = \"sys_platform == 'linux'\""))
    (pin,) = lock.pins
    assert (pin.name, pin.version, pin.marker, pin.hashes) == ("x", "1.0", 'sys_platform == "linux"', (HASH,))
    assert (lock.requires_python, places.problems) == (">=3.11", [])


@pytest.mark.parametrize(
    ("marker", "holds"),
    [
        ("'docs' in extras", False),
        ("'docs' not in extras", True),
        ("'main' in dependency_groups", True),
        ("'dev' in dependency_groups", False),
        ("'dev' in dependency_groups or sys_platform == 'linux'", True),
        ("'main' in dependency_groups and sys_platform == 'win32'", False),
    ],
)
def test_extras_are_not_wanted_and_groups_only_by_default(marker: str, holds: bool) -> None:
    lock, places = read(TOP + package(f'marker = "{marker}"'))
    assert places.problems == []
    assert bool(chosen(lock.pins, LINUX)) is holds


def test_the_projects_own_entry_is_skipped() -> None:
    own = '[[packages]]\nname = "shop"\ndirectory = { path = ".", editable = true }\n'
    lock, places = read(TOP + own + package())
    assert ([each.name for each in lock.pins], places.problems) == (["x"], [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("packages = []\n", "1:1 this lock has no lock-version, this server reads 1.0"),
        ('lock-version = "2.0"\n', "1:1 this lock has lock-version 2.0, this server reads 1.0"),
        ('lock-version = "1.0"\n', "1:1 this lock has no list of packages"),
        (TOP + package('vcs = { type = "git", url = "https://x" }'), "4:1 x comes from a repository: https://x"),
        (TOP + package('directory = { path = "../x" }'), "4:1 x comes from a folder: ../x"),
        (TOP + package('archive = { url = "https://x" }'), "4:1 x comes from a URL or file: https://x"),
        (TOP + file('path = "x.whl"'), "4:1 x comes from a file: x.whl"),
        (TOP + file('url = "file:///srv/x.whl"'), "4:1 x comes from a file: file:///srv/x.whl"),
        (TOP + file('url = "ftp://x.example/x.whl"'), "4:1 x comes from a file: ftp://x.example/x.whl"),
        (
            TOP + "environments = [\"sys_platform == 'win32'\", \"python_version < '3.8'\"]\n" + package(),
            "4:1 this lock was made for other environments: sys_platform == 'win32', python_version < '3.8'",
        ),
        (TOP + package(version=""), "4:1 x has no version"),
        (TOP + package().replace("sha256", "sha512"), '4:1 "x==1.0" has no SHA-256 hash'),
    ],
)
def test_what_cannot_be_taken_is_said_at_its_place(text: str, said: str) -> None:
    lock, places = read(text)
    assert words(places) == [said]
    assert lock.pins == ()


def test_a_folder_of_code_is_to_be_imported_without_an_installation() -> None:
    _, places = read(TOP + package('directory = { path = "packages/x" }') + package('archive = { path = "x.zip" }'))
    assert [each.hint.partition(",")[0] for each in places.problems] == [
        "take it out of the dependencies",
        "install it from the index",
    ]


def test_a_package_of_which_a_file_is_on_the_web_is_taken_by_its_hashes() -> None:
    for place in (
        'url = "https://files.example/x.whl"',
        'url = "https://files.example/x.whl", path = "x.whl"',
        f'path = "x.whl", hashes = {{ sha256 = "{HASH}" }} }}, {{ url = "https://files.example/x-2.whl"',
    ):
        lock, places = read(TOP + file(place))
        assert (words(places), len(lock.pins)) == ([], 1)


def test_a_lock_for_another_python_is_refused() -> None:
    text = TOP + "environments = [\"sys_platform == 'linux' and python_version >= '3.12'\"]\n" + package()
    assert read(text, "3.12.1")[1].problems == []
    assert words(read(text, "3.11.2")[1])[0].startswith("4:1 this lock was made for other environments")


def test_a_package_for_another_python_is_refused_where_it_is_wanted() -> None:
    text = TOP + package('requires-python = ">=3.12"')
    assert read(text)[1].problems == []
    assert read(text, "3.12.1")[1].problems == []
    assert words(read(text, "3.11.2")[1]) == ["4:1 x is for Python >=3.12, functions of this server run with 3.11.2"]
    elsewhere = TOP + package('requires-python = ">=3.12"\nmarker = "python_version >= \'3.12\'"')
    assert read(elsewhere, "3.11.2")[1].problems == []


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("pylock.toml", True), ("pylock.prod.toml", True), ("pylock.a.b.toml", False), ("x.toml", False)],
)
def test_what_such_a_file_may_be_called(name: str, is_one: bool) -> None:
    assert bool(FILE.fullmatch(name)) is is_one
