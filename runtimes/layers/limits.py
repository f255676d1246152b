"""What one build may use."""

from __future__ import annotations

from dataclasses import dataclass

from clowdy.schema.units import GIBIBYTE, MEBIBYTE


@dataclass(frozen=True, slots=True)
class BuildLimits:
    """`layer_bytes` and `layer_files` bound what is installed, `free_bytes` is what a build leaves on the disk.

    A build that neither prints, writes nor computes for `stall_seconds` is ended, any after `seconds`; what
    breaks off is asked for again `retries` times. At most `at_once` run at the same time; `cpu` is in cores.
    """

    seconds: float = 600.0
    stall_seconds: float = 30.0
    retries: int = 2
    memory_bytes: int = 2 * GIBIBYTE
    cpu: float = 2.0
    processes: int = 1024
    open_files: int = 4096
    layer_bytes: int = GIBIBYTE
    layer_files: int = 100_000
    free_bytes: int = 256 * MEBIBYTE
    at_once: int = 2
