"""Cron expressions of five fields."""

from __future__ import annotations

import pytest

from clowdy.schema.cron import check_cron
from clowdy.schema.rejection import Rejection


@pytest.mark.parametrize(
    "text", ["* * * * *", "*/5 0-6,12 1 JAN-MAR mon", "0 0 L * *", "0 9 * * 7", "0 0 13 * 5", "0 0 29 2 *"]
)
def test_what_cron_knows(text: str) -> None:
    assert check_cron(text) == text


def test_blanks_between_fields_are_made_one() -> None:
    assert check_cron(" 0\t0  * * * ") == "0 0 * * *"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("* * * * * *", "6 fields"),
        ("@daily", 'as in "0 0 * * *"'),
        ("61 * * * *", 'bad minute: "61"'),
        ("* 24 * * *", "bad hour"),
        ("* * 0 * *", "bad day of month"),
        ("* * * 13 *", "bad month"),
        ("* * * * 8", "bad day of week"),
        ("*/0 * * * *", "bad minute"),
        ("5-1 * * * *", "bad minute"),
        ("0 0 31 2 *", "never fires"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 4,6,9,11 *", "never fires"),
        ("0;reboot * * * *", "not a cron expression"),
        ("$(id) * * * *", "not a cron expression"),
        ("* * * * *\n* * * * *", "fields"),
        ("1,2,3,4 " + "1," * 200 + "1 * * *", "not a cron expression"),
        ("9" * 100 + " * * * *", "bad minute"),
        ("٣ * * * *", "not a cron expression"),
        ("*#1/2 * * * L#2", "bad minute"),
    ],
)
def test_what_is_refused_and_which_field_is_wrong(text: str, words: str) -> None:
    with pytest.raises(Rejection) as caught:
        check_cron(text)
    assert words in f"{caught.value.message}: {caught.value.hint}"
