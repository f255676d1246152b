"""Which origins a browser sends, and what is said of the others."""

from __future__ import annotations

import re

import pytest

from clowdy.schema.origins import check_origin
from clowdy.schema.parse import parse_manifest
from clowdy.schema.rejection import Rejection
from clowdy.schema.shape import load_schema

SENT = [
    "https://shop.example",
    "http://localhost:3000",
    "http://localhost:443",
    "https://shop.example:80",
    "https://a.example.",
    "https://xn--bcher-kva.example",
    "http://127.0.0.1:8000",
    "http://[::1]",
    "http://[2001:db8::2:1]:8080",
    "http://[::ffff:102:304]",
    "https://a-b.c--d.example:65535",
]
MEANT = [
    ("https://Shop.example", "https://shop.example"),
    ("HTTPS://shop.example", "https://shop.example"),
    ("https://a.example:443", "https://a.example"),
    ("http://a.example:80", "http://a.example"),
    ("https://a.example:0443", "https://a.example"),
    ("https://a.example:08443", "https://a.example:8443"),
    ("https://a.example:", "https://a.example"),
    ("https://a.example/", "https://a.example"),
    ("https://a.example/cart?x#y", "https://a.example"),
    ("http://[0:0:0:0:0:0:0:1]:80", "http://[::1]"),
    ("http://[2001:DB8::1]", "http://[2001:db8::1]"),
    ("http://[::ffff:1.2.3.4]", "http://[::ffff:102:304]"),
    ("http://127.1", "http://127.0.0.1"),
    ("http://0x7f.0.0.1:81", "http://127.0.0.1:81"),
    ("https://bücher.example", "https://xn--bcher-kva.example"),
    ("shop.example", "https://shop.example"),
    ("localhost:3000", "http://localhost:3000"),
]
NEVER = [
    "https://a.example:99999",
    "https://a.example:0",
    "https://a..b",
    "https://.a",
    "https://",
    "https://a b",
    "https://ana:secret@a.example",
    "https://1.2.3.999",
    "http://[::1",
    "http://[fe80::1%eth0]",
    "http://[1.2.3.4]",
    "http://::1",
    "ftp://a.example",
    "https://*.example",
    "https://a.example\n",
    "https://" + "a" * 64 + ".example",
    "https://" + "a." * 200 + "example",
    "https://straße.example",
    "null",
    "",
]


@pytest.mark.parametrize("text", SENT)
def test_what_a_browser_sends_is_taken_as_it_is(text: str) -> None:
    assert check_origin(text) == text


@pytest.mark.parametrize(("text", "meant"), MEANT)
def test_what_no_browser_sends_is_refused_with_what_it_sends(text: str, meant: str) -> None:
    with pytest.raises(Rejection) as caught:
        check_origin(text)
    assert (caught.value.code, caught.value.hint) == ("bad-value", f'did you mean "{meant}"?')
    assert check_origin(meant) == meant


@pytest.mark.parametrize("text", NEVER)
def test_what_is_no_origin_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Rejection) as caught:
        check_origin(text)
    assert (caught.value.code, caught.value.hint) == (
        "bad-value",
        "write it as in https://shop.example or http://localhost:3000",
    )


def test_any_origin_is_not_named_in_a_list() -> None:
    with pytest.raises(Rejection) as caught:
        check_origin("*")
    assert caught.value.hint == "for any origin write cors: true"


def test_the_problem_stands_at_its_item() -> None:
    text = b"functions: {hello: {}}\ncors:\n  origins:\n    - https://shop.example\n    - https://Shop.example\n"
    (problem,) = parse_manifest(text).problems
    assert (problem.line, problem.column, problem.code) == (5, 7, "bad-value")
    assert problem.message == 'no browser sends the origin "https://Shop.example"'


def test_editors_take_what_is_taken() -> None:
    pattern = load_schema()["properties"]["cors"]["properties"]["origins"]["items"]["pattern"]
    assert all(re.search(pattern, text) for text in SENT)
    assert not re.search(pattern, "https://Shop.example")
    assert not re.search(pattern, "https://a..b")
