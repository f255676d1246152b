"""What a lock is made for: the Python that runs functions, and this platform."""

from __future__ import annotations

import os
import platform
import sys

from packaging.markers import default_environment

from clowdy.runtimes.runner import Python


def lock_python(python: Python) -> str:
    """`3.11` of `3.11.2`: what wheels are made for."""
    return ".".join(python.version.split(".")[:2])


def lock_platform() -> str:
    """`linux-x86_64-glibc`: system, processor and C library, as wheels tell them apart."""
    try:
        library = "glibc" if os.confstr("CS_GNU_LIBC_VERSION") else "musl"
    except (ValueError, OSError):
        library = "musl"
    return f"{sys.platform}-{platform.machine()}-{library}"


def marker_environment(python: Python) -> dict[str, str]:
    """What environment markers are asked about, for `python` on this machine."""
    return {
        **{name: str(value) for name, value in default_environment().items()},
        "python_version": lock_python(python),
        "python_full_version": python.version,
        "implementation_version": python.version,
    }
