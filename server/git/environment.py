"""The environment that git processes get: nothing of the server's own, every setting spelled out.

Settings travel in GIT_CONFIG_*, which git treats as protected configuration: `safe.directory` is honoured there and
a repository's own file cannot change it back.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

SEARCH_PATH = os.environ.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")

_FIXED = {
    "PATH": SEARCH_PATH,
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "TZ": "UTC",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_DEFAULT_HASH": "sha1",
    "GIT_DEFAULT_REF_FORMAT": "files",
    # Missing objects are never fetched from anywhere, whatever a repository's file may say.
    "GIT_NO_LAZY_FETCH": "1",
}

COMMON = {
    "safe.directory": "*",
    "core.fsync": "committed",
    "core.logAllRefUpdates": "false",
    # A push in quarantine has the repository itself as its alternate, whose refs git would list a second time.
    "core.alternateRefsCommand": "true",
    "core.packedGitWindowSize": "32m",
    "core.packedGitLimit": "256m",
    "core.bigFileThreshold": "32m",
    "pack.threads": "2",
    "pack.windowMemory": "128m",
    "protocol.allow": "never",
    "gc.auto": "0",
    "maintenance.auto": "false",
}


def clean_environment(config: Mapping[str, str], extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The whole environment of one git process with `config` over the common settings and `extra` variables."""
    settings = {**COMMON, **config}
    environment = {**_FIXED, **(extra or {}), "GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    return environment
