"""Ids of calls grow with time and never come twice."""

from __future__ import annotations

import pytest

from clowdy.server.errors import Invalid
from clowdy.server.serve.call_ids import CallIds, first_number_at, number_of


def test_an_id_is_twelve_hex_digits_that_begin_with_the_time() -> None:
    assert CallIds(lambda: 1_790_000_000.5)() == f"{1_790_000_000:08x}8000"


def test_ids_of_one_moment_differ_and_grow() -> None:
    ids = CallIds(lambda: 1000.0)
    made = [ids() for _ in range(1000)]

    assert made == sorted(set(made))


def test_ids_grow_also_when_the_clock_is_set_back() -> None:
    times = iter([1000.0, 500.0, 1000.0])
    ids = CallIds(lambda: next(times))
    made = [ids() for _ in range(3)]

    assert made == sorted(set(made))


def test_ids_begin_after_those_of_an_earlier_server() -> None:
    ids = CallIds(lambda: 1000.0)
    ids.begin_after(first_number_at(2000.0))

    assert number_of(ids()) == first_number_at(2000.0) + 1


@pytest.mark.parametrize("text", ["", "0123456789a", "0123456789abc", "0123456789AB", "0123456789ax", "../etc/passwd"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        number_of(text)
