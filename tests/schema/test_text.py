"""What strangers wrote is shown without acting on a terminal."""

from __future__ import annotations

import unicodedata

import pytest

from clowdy.schema.text import printable


def test_ordinary_text_stays_as_it_is() -> None:
    text = "naïve café, 日本語, emoji 👩‍💻, می‌خواهم"

    assert text == printable(text)


@pytest.mark.parametrize(
    "character",
    [
        "\x1b",
        "\x00",
        "\x07",
        "\x7f",
        "\x9b",
        "\u202e",
        "\u2066",
        "\u200f",
        "\u061c",
        "\ufeff",
        "\u200b",
        "\udc80",
        "\U000e0041",
    ],
)
def test_what_could_act_or_hide_becomes_one_replacement_character(character: str) -> None:
    assert printable(f"a{character}b") == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\v", "\x85", "\u2028", "\u2029"])
def test_line_ends_and_tabs_become_spaces(character: str) -> None:
    assert printable(f"a{character}b") == "a b"


def test_no_control_bidirectional_or_surrogate_character_is_left_of_all_of_unicode() -> None:
    everything = "".join(map(chr, range(0x110000)))

    shown = printable(everything)

    assert len(everything) == len(shown)
    left = {character for character in shown if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}}
    assert set() == left
    assert not {
        c
        for c in shown
        if unicodedata.bidirectional(c) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    }
    shown.encode()


def test_a_limit_cuts_and_says_so() -> None:
    assert printable("abcdefgh", 4) == "abc…"
    assert printable("abcd", 4) == "abcd"
