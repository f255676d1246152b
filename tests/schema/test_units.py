"""Durations and sizes."""

from __future__ import annotations

import pytest

from clowdy.schema.units import format_excess, format_size, is_memory, is_timeout, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10.0), ("500ms", 0.5), ("1.5s", 1.5), ("0.1s", 0.1), ("900 s", 900.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "1m", "1 h", "1e3s", "10s\n", "١s", "1,5s", "9" * 5000 + "s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("1KB", 1024), ("256MB", 256 * 1024**2), ("1GB", 1024**3), ("1.5gb", 3 * 2**29), ("64 MiB", 64 * 1024**2)],
)
def test_sizes_count_by_1024(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "256", "MB", "256M", "-1MB", "1TB", "1e3MB", "256MB\n", "9" * 5000 + "MB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


def test_ranges_include_their_ends() -> None:
    assert [is_timeout(text) for text in ("0s", "0.9ms", "1ms", "900s", "900.1s", "x")] == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]
    assert [is_memory(text) for text in ("31MB", "32MB", "4GB", "4.1GB", "x")] == [False, True, True, False, False]


def test_sizes_are_shown_in_the_largest_unit_that_fits() -> None:
    assert [format_size(size) for size in (900, 1536, 50 * 1024**2, 2**30 - 1, 3 * 2**29, 2**41)] == [
        "900 bytes",
        "1.5 KB",
        "50 MB",
        "1 GB",
        "1.5 GB",
        "2048 GB",
    ]


@pytest.mark.parametrize(
    ("size", "limit", "said"),
    [
        (300 * 1024, 256 * 1024, ("300 KB", "256 KB")),
        (256 * 1024 + 1, 256 * 1024, ("262,145 bytes", "262,144 (256 KB)")),
        (1024**2 + 1, 1024**2, ("1,048,577 bytes", "1,048,576 (1 MB)")),
        (1_300_000_000, 1_299_999_999, ("1,300,000,000 bytes", "1,299,999,999 (1.2 GB)")),
        (901, 900, ("901 bytes", "900 bytes")),
    ],
)
def test_a_size_never_looks_like_the_limit_that_it_is_above(size: int, limit: int, said: tuple[str, str]) -> None:
    assert format_excess(size, limit) == said
