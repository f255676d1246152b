from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from clowdy.server.people.redact import MASK, Redactor, SecretText

VALUE = 'p4ss"word/+ with more'


def test_a_value_is_masked_as_text_and_as_bytes() -> None:
    redactor = Redactor([VALUE])

    assert redactor.text(f"<{VALUE}>") == f"<{MASK}>"
    assert redactor.data(f"<{VALUE}>\xff".encode("latin-1")) == f"<{MASK}>".encode() + b"\xff"


@pytest.mark.parametrize("user", ["", "u", "us", "user"])
def test_a_value_in_base64_is_masked_wherever_it_begins(user: str) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        masked = Redactor([VALUE]).text(encode(f"{user}{VALUE}:after".encode()).decode())

        assert MASK in masked
        left = masked.replace(MASK, "")
        assert len(left) < len(f"{user}:after") * 4 / 3 + 8


def test_a_value_is_masked_as_json_and_in_urls() -> None:
    redactor = Redactor([VALUE])

    assert redactor.text(json.dumps({"key": VALUE})) == json.dumps({"key": MASK})
    for encoded in (quote(VALUE), quote(VALUE, safe=""), quote_plus(VALUE)):
        assert redactor.text(f"?key={encoded}") == f"?key={MASK}"


def test_a_value_is_masked_as_python_shows_it() -> None:
    value = "C:\\new\t'quoted'"

    assert Redactor([value]).text(str({"key": value})) in (f"{{'key': '{MASK}'}}", f"{{'key': \"{MASK}\"}}")


def test_a_value_of_many_lines_is_masked_line_by_line() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n}\n-----END KEY-----\n"
    redactor = Redactor([key])

    assert redactor.text(key) == MASK
    assert redactor.text("remote: kqhkiG9w0BAQEF") == f"remote: {MASK}"
    assert redactor.text("a } b") == "a } b"


def test_a_value_that_is_part_of_another_does_not_uncover_it() -> None:
    assert Redactor(["abcd", "abcdefgh"]).text("abcdefgh abcd") == f"{MASK} {MASK}"


def test_short_values_stay_since_they_are_words_of_any_text() -> None:
    redactor = Redactor(["80", "yes", "   "])

    assert not redactor
    assert redactor.text("yes, port 80") == "yes, port 80"
    assert Redactor(["test"]).text("a test") == f"a {MASK}"


def test_the_type_of_a_value_is_a_text_whose_repr_shows_nothing() -> None:
    value = SecretText("hunter22")

    assert value == "hunter22"
    assert "hunter22" not in repr(value)
    assert "hunter22" not in repr({"env": value})
    assert "hunter22" not in repr(Redactor([value]))
