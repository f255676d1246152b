"""Locks have one text, and nothing in it but pins."""

from __future__ import annotations

import pytest

from clowdy.schema.locks import Lock, Wanted, chosen, parse_lock, pin, print_lock
from clowdy.schema.rejection import Rejection

A, B = "a" * 64, "b" * 64


def test_a_lock_is_printed_as_it_is_read() -> None:
    pins = [pin("Zope.Interface", "8.0", [B, A]), pin("idna", "3.10", [A], "python_version < '4'")]
    text = print_lock(pins)
    assert text == (
        f'idna==3.10 ; python_version < "4" \\\n    --hash=sha256:{A}\n'
        f"zope-interface==8.0 \\\n    --hash=sha256:{A} \\\n    --hash=sha256:{B}\n"
    )
    assert print_lock(parse_lock(text)) == text


def test_order_comments_and_spelling_make_no_other_lock() -> None:
    one = f"# by hand\nB==1.0 --hash=sha256:{A}\n\na==2 --hash=sha256:{A} # via b\n"
    other = f"a==2 \\\r\n  --hash=sha256:{A}\r\nb==1.0 \\\r\n --hash=sha256:{A}\r\n"
    assert Lock.read(one, "3.11", "x") == Lock.read(other, "3.11", "x")


def test_python_platform_and_text_each_make_another_digest() -> None:
    text = f"a==2 --hash=sha256:{A}"
    locks = [Lock.read(text, "3.11", "x"), Lock.read(text, "3.12", "x"), Lock.read(text, "3.11", "y"),
             Lock.read(f"a==3 --hash=sha256:{A}", "3.11", "x"), Lock.read("", "3.11", "x")]  # fmt: skip
    assert len({lock.digest for lock in locks}) == len(locks)
    assert all(len(lock.digest) == 64 for lock in locks)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a==1", "no SHA-256 hash"),
        (f"a>=1 --hash=sha256:{A}", "not pinned"),
        (f"a==1,==1 --hash=sha256:{A}", "not pinned"),
        (f"a==1.* --hash=sha256:{A}", "not one version"),
        (f"a===1 --hash=sha256:{A}", "not pinned"),
        (f"a --hash=sha256:{A}", "not pinned"),
        (f"a[x]==1 --hash=sha256:{A}", "extras"),
        ("a==1 --hash=md5:aa", "--hash=md5"),
        (f"a==1 --hash=sha256:{A[1:]}", "--hash"),
        (f"a==1 --hash sha256:{A}", "--hash"),
        (f"a==1 --hash=sha256:{A} --index-url=https://evil.example", "--index-url"),
        (f"a==1 --hash=sha256:{A}; sys_platform == 'x'", "--hash"),
        ("--index-url https://evil.example", "options"),
        ("-r /etc/passwd", "options"),
        ("-e .", "editable"),
        ("--no-binary=:all:", "options"),
        (f"a @ https://evil.example/a.whl --hash=sha256:{A}", "URLs"),
        (f"./a==1 --hash=sha256:{A}", "paths"),
        (f"a==${{V}} --hash=sha256:{A}", "variables"),
        (f"a==1 --hash=sha256:{A}\na==2 --hash=sha256:{A}", "twice"),
        (f"a==1 --hash=sha256:{A}\nA==2 ; os_name=='x' --hash=sha256:{A}", "twice"),
        (f"a==1 \\\n--hash=sha256:{A} \\\n-r /etc/passwd", "--hash"),
        ("".join(f"a{n}==1 --hash=sha256:{A}\n" for n in range(2001)), "more than 2000"),
        ("#" * (8 * 1024 * 1024 + 1), "larger"),
    ],
)  # fmt: skip
def test_what_may_not_be_in_a_lock(text: str, words: str) -> None:
    with pytest.raises(Rejection) as caught:
        parse_lock(text)
    assert words in f"{caught.value.message}: {caught.value.hint}"


@pytest.mark.parametrize(
    ("name", "version", "marker"),
    [
        ("a", "1 --hash=x", ""), ("a", "1\nb==2", ""), ("a==1,", "1", ""), ("a", "*", ""), ("a", "9" * 201, ""),
        ("a", "1", "os_name"), ("a", "1", "os_name == 'x'\n-r /etc/passwd"), ("-r x", "1", ""), ("a[b]", "1", ""),
    ],
)  # fmt: skip
def test_parts_of_a_pin_cannot_say_more_than_they_should(name: str, version: str, marker: str) -> None:
    with pytest.raises(Rejection):
        pin(name, version, [A], marker)


def test_markers_choose_what_is_wanted_here() -> None:
    pins = parse_lock(
        f"a==1 ; python_version < '3.12' --hash=sha256:{A}\na==2 ; python_version >= '3.12' --hash=sha256:{B}\n"
        f"b==1 ; extra == 'x' --hash=sha256:{A}\nc==1 --hash=sha256:{A}"
    )
    assert [str(each).split(" ")[0] for each in chosen(pins, {"python_version": "3.11"})] == ["a==1", "c==1"]
    assert [each.version for each in chosen(pins, {"python_version": "3.13"})] == ["2", "1"]


def test_two_versions_that_both_hold_here_are_refused() -> None:
    pins = parse_lock(f"a==1 ; os_name == 'posix' --hash=sha256:{A}\na==2 ; os_name != 'nt' --hash=sha256:{B}")
    with pytest.raises(Rejection, match="a twice here: 1 and 2"):
        chosen(pins, {"os_name": "posix"})


def test_a_marker_that_cannot_be_decided_is_refused() -> None:
    pins = parse_lock(f"a==1 ; os_name ~= 'posix' --hash=sha256:{A}")
    with pytest.raises(Rejection, match="cannot be decided"):
        chosen(pins, {"os_name": "posix"})


def test_what_is_wanted_has_one_text() -> None:
    one = Wanted(("Flask[Async]>=3,<4", "numpy"))
    assert one.text == Wanted(("numpy ", "flask[async] <4, >=3", "NumPy")).text
    assert one.text != Wanted(("numpy", "flask>=3,<4")).text
    assert one.digest != Wanted(one.lines, f"numpy==1 --hash=sha256:{A}").digest


def test_a_brought_lock_counts_without_its_comments() -> None:
    assert (
        Wanted((), f"# uv\nnumpy==1 --hash=sha256:{A}").text == Wanted((), f"numpy==1 \\\n   --hash=sha256:{A}\n").text
    )
