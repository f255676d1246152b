"""What a build runs, wherever it runs: the commands of uv and the compiler, and their environment. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clowdy.runtimes.layers.index import Certificates, Index
from clowdy.runtimes.layers.limits import BuildLimits

PLACE = "/build"
"""Where a build sees its files."""

COMPILE = Path(__file__).with_name("compile_worker.py").read_text()


@dataclass(frozen=True, slots=True)
class Step:
    """One program of a build, with nothing but `env`, which may hold credentials of the index."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The steps of a build whose files lie in `place`, installing into `site`; all paths are those that it sees."""

    place: str
    site: str
    uv: str
    python: str
    index: Index
    limits: BuildLimits

    def resolve(self, certificates: Certificates) -> Step:
        """Turns `wanted.txt` into the lock; versions that the lock has already are preferred."""
        place = self.place
        return self._uv(
            certificates,
            *("pip", "compile", f"{place}/wanted.txt", "--output-file", f"{place}/lock.txt"),
            *("--generate-hashes", "--no-header", "--no-annotate"),
        )

    def install(self, certificates: Certificates) -> Step:
        """Installs what the lock says, and nothing that it does not."""
        return self._uv(
            certificates,
            *("pip", "install", "--requirements", f"{self.place}/lock.txt", "--target", self.site),
            *("--require-hashes", "--no-deps"),
        )

    def version(self) -> Step:
        """Says which uv it is: a trial of the isolation."""
        return Step((self.uv, "--version"), self._base)

    def compile(self, site: str) -> Step:
        """Compiles what was installed, seen as `site`; it has no credentials."""
        python = (self.python, "-I", "-S", "-W", "ignore")
        return Step((*python, "-c", COMPILE, site, str(max(1, round(self.limits.cpu)))), _PLAIN)

    @property
    def _base(self) -> dict[str, str]:
        home = f"{self.place}/home"
        return {**_PLAIN, "HOME": home, "TMPDIR": home}

    def _uv(self, certificates: Certificates, *arguments: str) -> Step:
        # Settings by environment alone: what stands in a command any user of the machine can read.
        environment = {
            **self._base,
            **self.index.environment(certificates),
            # A cache of its own: what one build downloads, no other one trusts.
            "UV_CACHE_DIR": f"{self.place}/cache",
            "UV_HTTP_TIMEOUT": str(max(1, round(self.limits.stall_seconds))),
            "UV_HTTP_RETRIES": str(self.limits.retries),
            "UV_LINK_MODE": "hardlink",
            "UV_NO_PROGRESS": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_KEYRING_PROVIDER": "disabled",
            "NO_COLOR": "1",
        }
        command = (
            *(self.uv, *arguments, "--python", self.python),
            *("--only-binary", ":all:", "--no-config", "--color", "never"),
            *(("--no-index",) if self.index.no_index else ()),
        )
        return Step(command, environment)


_PLAIN = {"PATH": os.defpath, "LANG": "C.UTF-8"}
