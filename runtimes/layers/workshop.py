"""The place where one lock or layer is made: a scratch folder, and commands that see little else of the machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clowdy.runtimes.layers.box import Job
from clowdy.runtimes.layers.command import Bind, build_command
from clowdy.runtimes.layers.index import Certificates, Index
from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.layers.recipe import PLACE, Recipe, Step
from clowdy.runtimes.layers.sources import certificate_folders, holders
from clowdy.runtimes.runner import Python
from clowdy.runtimes.sandbox.command import PACKAGES, System
from clowdy.schema.units import MEBIBYTE

_UV = "/uv"
_TMP_BYTES = 64 * MEBIBYTE
_HOSTS = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"
_SWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"


@dataclass(frozen=True, slots=True)
class Isolation:
    """How programs of a build are kept apart: by bubblewrap, with `filter` for system calls."""

    bubblewrap: str
    system: System
    filter: bytes


Wrap = Callable[[Sequence[str]], tuple[str, ...]]
"""Makes a command one that runs in a network namespace of its own."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """`scratch` as the server writes it, `shown` as bubblewrap finds it. Without `isolation` commands run plainly.

    `wrap` gives a command its network, None leaves it that of the server.
    """

    scratch: Path
    shown: Path
    uv: Path
    python: Python
    index: Index
    limits: BuildLimits
    uid: int | None
    isolation: Isolation | None
    wrap: Wrap | None

    @property
    def site(self) -> Path:
        """Where packages are installed."""
        return self.scratch / "site"

    @property
    def lock(self) -> Path:
        """The lock that is read or written."""
        return self.scratch / "lock.txt"

    def prepare(self, *, wanted: str, lock: str, resolvers: str) -> None:
        """Fills the scratch folder; blocks. `resolvers` is what /etc/resolv.conf holds inside."""
        for name in ("cache", "site", "home", "etc"):
            self._give(self.scratch / name, folder=True)
        files = {
            "wanted.txt": wanted,
            "lock.txt": lock,
            "etc/hosts": _HOSTS,
            "etc/nsswitch.conf": _SWITCH,
            "etc/resolv.conf": resolvers,
        }
        for name, content in files.items():
            (self.scratch / name).write_text(content)
        self._give(self.lock)
        for source, name in ((self.index.certificates, "ca.pem"), (self.index.client_certificate, "client.pem")):
            if source is not None:
                shutil.copyfile(source, self.scratch / name)
                (self.scratch / name).chmod(0o600)
                self._give(self.scratch / name)

    def _give(self, path: Path, *, folder: bool = False) -> None:
        if folder:
            path.mkdir()
        if self.uid is not None:
            os.chown(path, self.uid, self.uid)

    def resolve(self) -> Job:
        """Turns `wanted.txt` into the lock."""
        return self._job(self._recipe.resolve(self._certificates), share_network=self.index.needs_network)

    def install(self) -> Job:
        """Installs what the lock says."""
        return self._job(self._recipe.install(self._certificates), share_network=self.index.needs_network)

    def version(self) -> Job:
        """Says which uv it is: a trial of the isolation."""
        return self._job(self._recipe.version(), share_network=False)

    def compile(self) -> Job:
        """Compiles what was installed; it sees nothing else, and has no network."""
        folder = str(self.site) if self.isolation is None else PACKAGES
        site = (Bind(str(self.shown / "site"), PACKAGES, writable=True),)
        return self._job(self._recipe.compile(folder), binds=site, share_network=False)

    @property
    def _recipe(self) -> Recipe:
        place = str(self.scratch) if self.isolation is None else PLACE
        uv = str(self.uv) if self.isolation is None else _UV
        return Recipe(place, f"{place}/site", uv, self.python.executable, self.index, self.limits)

    @property
    def _certificates(self) -> Certificates:
        place = self._recipe.place
        file, client = (
            f"{place}/{name}.pem" if (self.scratch / f"{name}.pem").exists() else None for name in ("ca", "client")
        )
        return Certificates(file, self.index.certificate_folder, client)

    def _job(
        self,
        step: Step,
        *,
        binds: Sequence[Bind] | None = None,
        share_network: bool,
    ) -> Job:
        job = Job(step.argv, self.scratch, step.env, self.uid)
        if self.isolation is None:
            return job
        argv = build_command(
            self.isolation.bubblewrap,
            self.isolation.system,
            binds=self._binds() if binds is None else binds,
            folder=PACKAGES if binds is not None else PLACE,
            tmp_bytes=_TMP_BYTES,
            share_network=share_network,
            program=step.argv,
        )
        if share_network and self.wrap is not None:
            argv = self.wrap(argv)
        return replace(job, argv=argv, filter=self.isolation.filter)

    def _binds(self) -> list[Bind]:
        binds = [Bind(str(self.shown), PLACE, writable=True), Bind(str(self.uv), _UV)]
        binds += [
            Bind(str(self.shown / "etc" / name), f"/etc/{name}") for name in ("hosts", "nsswitch.conf", "resolv.conf")
        ]
        readable = {*certificate_folders(self.index), *holders(self.index)}
        return binds + [Bind(str(each), str(each)) for each in sorted(readable)]
