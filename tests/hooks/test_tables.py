"""What TOML files contain, asked of the real child."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from clowdy.hooks.syntax import FileProblem, SyntaxChild, Table
from clowdy.hooks.syntax_worker import DEEPEST, tabulate
from clowdy.hooks.tree import Entry, Kind


@pytest.fixture
async def child() -> AsyncIterator[SyntaxChild]:
    async with SyntaxChild() as child:
        yield child


async def ask(child: SyntaxChild, content: bytes | str, blob: str = "") -> Table | FileProblem:
    text = content.encode() if isinstance(content, str) else content
    found = await child.tables([Entry("a.toml", Kind.FILE, blob, len(text))], lambda entry: text)
    return found["a.toml"]


async def test_values_come_as_they_stand(child: SyntaxChild) -> None:
    found = await ask(child, "a = 1\n[b]\nc = ['x', true]\nwhen = 2026-01-02T03:04:05Z\n")
    assert found == Table({"a": 1, "b": {"c": ["x", True], "when": "2026-01-02 03:04:05+00:00"}})


async def test_of_files_in_a_lock_only_the_hashes_are_kept(child: SyntaxChild) -> None:
    found = await ask(
        child,
        "[[package]]\nsdist = {url = 'https://x', hash = 'sha256:aa'}\n"
        "wheels = [{url = 'https://y', size = 1, hashes = {sha256 = 'bb'}}]\nsource = {url = 'https://z'}\n",
    )
    package = {
        "sdist": {"hash": "sha256:aa"},
        "wheels": [{"hashes": {"sha256": "bb"}}],
        "source": {"url": "https://z"},
    }
    assert found == Table({"package": [package]})


@pytest.mark.parametrize(
    ("content", "place", "words"),
    [
        (b"a = 1\nb = \n", (2, 5), "Invalid value"),
        (b"a = [1,\n", (2, 1), "Invalid value"),
        (b"a = 1\n\na = 2\n", (3, 6), "Cannot overwrite a value"),
        ("ä = 'x'\nb = 'é".encode("latin-1"), (1, 1), "byte 0xe4 is not UTF-8"),
        (b"a = " + b"1" * 5000, (1, 1), "not valid TOML"),
        (b"a = 0x" + b"f" * 5000, (1, 1), "not valid TOML"),
        (b".".join([b"a"] * 40) + b" = 1", (1, 1), f"nested more than {DEEPEST} deep"),
    ],
)
async def test_what_is_no_toml_has_its_place(
    child: SyntaxChild, content: bytes, place: tuple[int, int], words: str
) -> None:
    found = await ask(child, content)
    assert isinstance(found, FileProblem)
    assert (found.line, found.column) == place
    assert words in found.message


HOSTILE = {
    "a key of 100,000 parts": ".".join("a" * 100_000) + " = 1",
    "many keys below a table of many parts": "["
    + ".".join("a" * 50_000)
    + "]\n"
    + "".join(f"b{number} = 1\n" for number in range(20_000)),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
async def test_what_takes_for_ever_is_given_up(content: str) -> None:
    async with SyntaxChild(seconds=0.5) as child:
        found = await ask(child, content)
        assert isinstance(found, FileProblem)
        assert "takes longer to read" in found.message
        assert await ask(child, "a = 1") == Table({"a": 1})


async def test_what_is_nested_without_end_is_refused(child: SyntaxChild) -> None:
    for content in ("a = " + "[" * 100_000, "a = " + "{b = " * 100_000):
        found = await ask(child, content)
        assert isinstance(found, FileProblem)
    assert await ask(child, "a = 1") == Table({"a": 1})


async def test_a_large_lock_is_read_in_time(child: SyntaxChild) -> None:
    url = "https://files.example.org/packages/" + "ab/" * 20 + "package-1.0-py3-none-any.whl"
    wheels = "".join(f'    {{ url = "{url}", hash = "sha256:{number:064}", size = 1 }},\n' for number in range(20_000))
    content = f'[[package]]\nname = "large"\nwheels = [\n{wheels}]\n'
    assert len(content) > 4_000_000

    found = await ask(child, content)

    assert isinstance(found, Table)
    assert len(found.values["package"][0]["wheels"]) == 20_000


async def test_a_blob_that_was_seen_is_not_read_again(child: SyntaxChild) -> None:
    read: list[str] = []

    def reading(entry: Entry) -> bytes:
        read.append(entry.path)
        return b"a = 1"

    first = await child.tables([Entry("a.toml", Kind.FILE, "f" * 40, 5)], reading)
    second = await child.tables([Entry("b.toml", Kind.FILE, "f" * 40, 5)], reading)

    assert first["a.toml"] == second["b.toml"]
    assert read == ["a.toml"]


def test_a_byte_order_mark_is_passed_over() -> None:
    answer: dict[str, Any] = tabulate(b"\xef\xbb\xbfa = 1")
    assert answer == {"table": {"a": 1}}
