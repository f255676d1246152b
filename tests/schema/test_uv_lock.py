"""A uv.lock becomes the pins that uv itself would install."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from clowdy.hooks.syntax_worker import tabulate
from clowdy.schema.locks import chosen, parse_lock, print_lock
from clowdy.schema.pylock import read_pylock
from clowdy.schema.source import Source
from clowdy.schema.toml_places import TomlPlaces
from clowdy.schema.uv_lock import UvLock, read_uv_lock

LOCKS = Path(__file__).with_name("locks")
LINUX = {
    "implementation_name": "cpython",
    "implementation_version": "3.11.2",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_release": "6.1.0",
    "platform_system": "Linux",
    "platform_version": "1",
    "python_full_version": "3.11.2",
    "python_version": "3.11",
    "sys_platform": "linux",
}
ENVIRONMENTS = {
    "linux, 3.11": LINUX,
    "linux, 3.10": {**LINUX, "python_version": "3.10", "python_full_version": "3.10.4"},
    "linux, 3.13": {**LINUX, "python_version": "3.13", "python_full_version": "3.13.1"},
    "windows, 3.12": {
        **LINUX,
        "python_version": "3.12",
        "python_full_version": "3.12.0",
        "sys_platform": "win32",
        "platform_system": "Windows",
    },
    "pypy": {**LINUX, "implementation_name": "pypy", "platform_python_implementation": "PyPy"},
}


def read(text: str, project: str | None = None) -> tuple[UvLock, TomlPlaces]:
    places = TomlPlaces(Source("uv.lock", text))
    answer = tabulate(text.encode())
    assert "table" in answer, answer
    return read_uv_lock(answer["table"], places, project), places


def words(places: TomlPlaces) -> list[str]:
    return [f"{problem.line}:{problem.column} {problem.message}" for problem in places.problems]


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys())
@pytest.mark.parametrize("name", ["forks", "extras"])
def test_the_pins_are_those_of_uvs_own_export(name: str, environment: Mapping[str, str]) -> None:
    lock, places = read((LOCKS / f"{name}.uv.lock").read_text())
    exported = (LOCKS / f"{name}.pylock.toml").read_text()
    expected = read_pylock(tabulate(exported.encode())["table"], TomlPlaces(Source("pylock.toml", exported)))

    assert places.problems == []
    assert chosen(lock.pins, environment) == chosen(expected.pins, environment)
    assert parse_lock(print_lock(lock.pins)) == tuple(sorted(lock.pins))


def test_markers_on_the_way_are_kept_and_extras_and_groups_left_out() -> None:
    lock, _ = read((LOCKS / "forks.uv.lock").read_text())
    markers = {f"{each.name} {each.version}": each.marker for each in lock.pins if each.marker}

    assert markers == {
        "colorama 0.4.6": 'sys_platform == "win32"',
        "numpy 1.26.4": 'python_full_version < "3.13"',
        "numpy 2.5.5": 'python_full_version >= "3.13"',
        "typing-extensions 4.16.0": 'python_full_version < "3.15"',
    }
    assert not {"orjson", "pytest", "shop"} & {each.name for each in lock.pins}
    assert lock.requires_python == ">=3.11"
    assert lock.direct["numpy"] == {"1.26.4", "2.5.5"}
    assert "tomli" in {each.name for each in lock.declared or ()}


def test_a_local_source_is_refused_at_its_line() -> None:
    text = (LOCKS / "local.uv.lock").read_text()
    _, places = read(text)
    (problem,) = places.problems

    assert text.split("\n")[problem.line - 1] == 'source = { directory = "local/libx" }'
    assert problem.message == "libx comes from a folder: local/libx"


PACKAGE = """
[[package]]
name = "{name}"
version = "1.0"
source = {source}
dependencies = [{dependencies}]
wheels = [{{ url = "https://files.example/x.whl", hash = "sha256:{digest}" }}]
"""
INDEX = '{ registry = "https://index.example/simple" }'


def package(name: str, *dependencies: str, source: str = INDEX) -> str:
    listed = ", ".join(each if "{" in each else f'{{ name = "{each}" }}' for each in dependencies)
    return PACKAGE.format(name=name, source=source, dependencies=listed, digest="ab" * 32)


def root(*dependencies: str) -> str:
    return "version = 1\n" + package("shop", *dependencies, source='{ editable = "." }')


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('{ git = "https://git.example/x?rev=1#abc" }', "a git repository: https://git.example/x?rev=1#abc"),
        ('{ url = "https://files.example/x.whl" }', "a URL: https://files.example/x.whl"),
        ('{ path = "x.whl" }', "a file: x.whl"),
        ('{ directory = "../x" }', "a folder: ../x"),
        ('{ editable = "packages/x" }', "a folder: packages/x"),
        ('{ virtual = "packages/x" }', "a folder: packages/x"),
        ('{ registry = "../wheels" }', "a folder: ../wheels"),
        ("{ }", "no index"),
    ],
)
def test_what_comes_from_no_index_is_refused(source: str, said: str) -> None:
    _, places = read(root("x", "y") + package("x", source=source) + package("y"))
    assert words(places) == [f"13:1 x comes from {said}"]
    of_code = any(kind in source for kind in ("directory", "editable", "virtual"))
    assert places.problems[0].hint.startswith("take it out of the dep" if of_code else "install it from the index")


def test_what_is_not_needed_may_come_from_anywhere() -> None:
    lock, places = read(root("y") + package("x", source='{ git = "https://git.example/x" }') + package("y"))
    assert (words(places), [each.name for each in lock.pins]) == ([], ["y"])


def test_packages_that_need_each_other_end() -> None:
    lock, places = read(
        root("a")
        + package("a", '{ name = "b", marker = "sys_platform == \'linux\'" }')
        + package("b", '{ name = "a", marker = "os_name == \'posix\'" }')
    )
    assert places.problems == []
    assert {each.name: each.marker for each in lock.pins} == {"a": "", "b": 'sys_platform == "linux"'}


def test_several_ways_to_one_package_are_all_kept() -> None:
    lock, _ = read(
        root('{ name = "a", marker = "os_name == \'posix\'" }', '{ name = "b", marker = "os_name == \'nt\'" }')
        + package("a", "{ name = \"c\", marker = \"python_version < '4' or python_version > '5'\" }")
        + package("b", "c")
        + package("c")
    )
    assert {each.name: each.marker for each in lock.pins}["c"] == (
        '(os_name == "posix" and (python_version < "4" or python_version > "5")) or os_name == "nt"'
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version = 2\n", "1:1 this uv.lock has format 2, this server reads 1"),
        ("revision = 3\n", "1:1 this uv.lock has format None, this server reads 1"),
        ("version = 1\npackage = 3\n", "1:1 this uv.lock has no list of packages with names"),
        ("version = 1\npackage = [{name = 1}]\n", "1:1 this uv.lock has no list of packages with names"),
        (
            "version = 1\n" + package("x"),
            '1:1 this uv.lock has no entry for the project itself: source = { virtual = "." }',
        ),
        (root("gone"), '1:1 this uv.lock has no entry for "gone", which is needed'),
        (
            root("x") + package("x").replace("ab" * 32, "zz"),
            '11:1 "zz" is not a SHA-256 hash of "x==1.0"',
        ),
        (root("x") + package("x").replace("sha256:", "md5:"), '11:1 "x==1.0" has no SHA-256 hash'),
        (root("x") + package("x").replace('"1.0"', '"1.0\\n--index-url x"'), None),
        (root("x") + package("x").replace('"x"', '"x @ https://evil.example"'), None),
        (root('{ name = "x", marker = "sys_platform == \'linux\' --hash" }') + package("x"), None),
    ],
)
def test_what_cannot_be_taken_is_said_at_its_place(text: str, said: str | None) -> None:
    lock, places = read(text)
    assert places.problems
    if said is not None:
        assert words(places) == [said]
    assert lock.pins == ()


def test_of_several_projects_the_one_that_is_meant_counts() -> None:
    text = root("x") + package("other", source='{ virtual = "." }') + package("x")
    assert "several entries" in words(read(text)[1])[0]
    assert [each.name for each in read(text, "shop")[0].pins] == ["x"]


def test_a_lock_that_was_made_to_be_slow_is_given_up() -> None:
    markers = "".join(
        package(f"a{number}", f'{{ name = "a{number + 1}", marker = "python_version != \'{number}\'" }}')
        for number in range(3000)
    )
    assert "too many different conditions" in words(read(root("a0") + markers)[1])[0]
    many = root(*(f"a{number}" for number in range(5000))) + "".join(package(f"a{number}") for number in range(5000))
    assert "more than 2000 packages" in words(read(many)[1])[0]


def test_only_the_first_problems_are_listed() -> None:
    text = root(*(f"a{number}" for number in range(200))) + "".join(
        package(f"a{number}", source="{ }") for number in range(200)
    )
    _, places = read(text)
    assert len(places.problems) == 51
    assert places.problems[-1].message == "… and 150 more problems of this kind"
