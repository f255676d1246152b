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


def read(text: str) -> tuple[Pylock, TomlPlaces]:
    places = TomlPlaces(Source("pylock.toml", text))
    return read_pylock(tabulate(text.encode())["table"], places), places


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
        (TOP + package(version=""), "4:1 x has no version"),
        (TOP + package().replace("sha256", "sha512"), '4:1 "x==1.0" has no SHA-256 hash'),
    ],
)
def test_what_cannot_be_taken_is_said_at_its_place(text: str, said: str) -> None:
    lock, places = read(text)
    assert words(places) == [said]
    assert lock.pins == ()


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("pylock.toml", True), ("pylock.prod.toml", True), ("pylock.a.b.toml", False), ("x.toml", False)],
)
def test_what_such_a_file_may_be_called(name: str, is_one: bool) -> None:
    assert bool(FILE.fullmatch(name)) is is_one
