"""Tells which Python this is, as JSON: run in a container of a base image with `-I -S`. Standard library only."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys

library = "glibc"
try:
    os.confstr("CS_GNU_LIBC_VERSION")
except (ValueError, OSError):
    library = "musl"
print(  # noqa: T201
    json.dumps(
        {
            "executable": os.path.realpath(sys.executable),
            "version": platform.python_version(),
            "number": sys.version_info[:2],
            "prefix": sys.prefix,
            "folder": os.path.dirname(os.__file__),  # noqa: PTH120
            "platform": f"{sys.platform}-{platform.machine()}-{library}",
            "compiled": os.path.exists(importlib.util.cache_from_source(os.__file__)),  # noqa: PTH110
        }
    )
)
