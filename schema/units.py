"""Durations and sizes as people write them: `10`, `"10s"`, `"500ms"`; `256MB`, `1GB`."""

from __future__ import annotations

import re
from decimal import Decimal

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE
GIBIBYTE = 1024 * MEBIBYTE

SHORTEST_TIMEOUT_SECONDS = 0.001
LONGEST_TIMEOUT_SECONDS = 900.0
SMALLEST_MEMORY_BYTES = 32 * MEBIBYTE
LARGEST_MEMORY_BYTES = 4 * GIBIBYTE

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?) ?(ms|s)", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?) ?([KMG])I?B", re.ASCII | re.IGNORECASE)
_SCALES = {"K": KIBIBYTE, "M": MEBIBYTE, "G": GIBIBYTE}
_SHOWN = (("bytes", 1), ("KB", KIBIBYTE), ("MB", MEBIBYTE), ("GB", GIBIBYTE))


def parse_duration(text: str) -> float:
    """Seconds of `10s`, `500ms`, `1.5s`; raises ValueError for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"not a duration such as 10s or 500ms: {text!r}")
    seconds = Decimal(match[1]) / (1000 if match[2] == "ms" else 1)
    return float(seconds)


def parse_size(text: str) -> int:
    """Bytes of `256MB`, `1.5GB`, `64 KiB`; raises ValueError for anything else. 1 MB is 1024 * 1024 bytes."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"not a size such as 256MB or 1GB: {text!r}")
    return int(Decimal(match[1]) * _SCALES[match[2].upper()])


def format_size(size_bytes: int) -> str:
    """`256 MB`, `1.5 GB`, `900 bytes`: the largest unit that leaves a number of 1 or more."""
    unit, scale = next((shown for shown in _SHOWN if round(size_bytes / shown[1], 1) < 1024), _SHOWN[-1])
    return f"{round(size_bytes / scale, 1):g} {unit}"


def format_excess(size_bytes: int, limit_bytes: int) -> tuple[str, str]:
    """A size and the limit that it is above, as `has …, it may have …` says them: never with the same figures."""
    size, limit = format_size(size_bytes), format_size(limit_bytes)
    if size != limit:
        return size, limit
    return f"{size_bytes:,} bytes", f"{limit_bytes:,} ({limit})"


def is_timeout(text: str) -> bool:
    """Whether `text` is a duration that a function's `timeout` may have."""
    try:
        return SHORTEST_TIMEOUT_SECONDS <= parse_duration(text) <= LONGEST_TIMEOUT_SECONDS
    except ValueError:
        return False


def is_memory(text: str) -> bool:
    """Whether `text` is a size that a function's `memory` may have."""
    try:
        return SMALLEST_MEMORY_BYTES <= parse_size(text) <= LARGEST_MEMORY_BYTES
    except ValueError:
        return False
