"""The place where one lock or layer is made: a scratch folder, and commands that see little else of the machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clowdy.runtimes.layers.box import Job
from clowdy.runtimes.layers.command import Bind, build_command
from clowdy.runtimes.layers.index import Index
from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.runner import Python
from clowdy.runtimes.sandbox.command import PACKAGES, System
from clowdy.schema.units import MEBIBYTE

_PLACE = "/build"
_UV = "/uv"
_TMP_BYTES = 64 * MEBIBYTE
_HOSTS = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"
_SWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"
_SYSTEM_CERTIFICATES = "/etc/ssl/certs"
_COMPILE = Path(__file__).with_name("compile_worker.py").read_text()


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
        """Turns `wanted.txt` into the lock; versions that the lock has already are preferred."""
        place = self._place
        return self._uv(
            *("pip", "compile", f"{place}/wanted.txt", "--output-file", f"{place}/lock.txt"),
            *("--generate-hashes", "--no-header", "--no-annotate"),
        )

    def install(self) -> Job:
        """Installs what the lock says, and nothing that it does not."""
        place = self._place
        return self._uv(
            *("pip", "install", "--requirements", f"{place}/lock.txt", "--target", f"{place}/site"),
            *("--require-hashes", "--no-deps"),
        )

    def version(self) -> Job:
        """Says which uv it is: a trial of the isolation."""
        return self._job([self._uv_program, "--version"], self._base, share_network=False, wrapped=False)

    def compile(self) -> Job:
        """Compiles what was installed; it sees nothing else, and has neither network nor credentials."""
        folder = str(self.site) if self.isolation is None else PACKAGES
        python = (self.python.executable, "-I", "-S", "-W", "ignore")
        return self._job(
            [*python, "-c", _COMPILE, folder, str(max(1, round(self.limits.cpu)))],
            {"PATH": os.defpath, "LANG": "C.UTF-8"},
            binds=(Bind(str(self.shown / "site"), PACKAGES, writable=True),),
            share_network=False,
            wrapped=False,
        )

    @property
    def _place(self) -> str:
        return str(self.scratch) if self.isolation is None else _PLACE

    @property
    def _uv_program(self) -> str:
        return str(self.uv) if self.isolation is None else _UV

    @property
    def _base(self) -> dict[str, str]:
        home = f"{self._place}/home"
        return {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": home, "TMPDIR": home}

    def _uv(self, *arguments: str) -> Job:
        place = self._place
        held = {name: f"{place}/{name}.pem" for name in ("ca", "client") if (self.scratch / f"{name}.pem").exists()}
        # Settings by environment alone: what stands in a command any user of the machine can read.
        environment = {
            **self._base,
            **self.index.environment(certificates=held.get("ca"), client_certificate=held.get("client")),
            # A cache of its own: what one build downloads, no other one trusts.
            "UV_CACHE_DIR": f"{place}/cache",
            "UV_HTTP_TIMEOUT": str(max(1, round(self.limits.stall_seconds))),
            "UV_HTTP_RETRIES": str(self.limits.retries),
            "UV_LINK_MODE": "hardlink",
            "UV_NO_PROGRESS": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_KEYRING_PROVIDER": "disabled",
            "NO_COLOR": "1",
        }
        command = [
            *(self._uv_program, *arguments, "--python", self.python.executable),
            *("--only-binary", ":all:", "--no-config", "--color", "never"),
            *(("--no-index",) if self.index.no_index else ()),
        ]
        return self._job(command, environment, share_network=self.index.needs_network)

    def _job(
        self,
        program: Sequence[str],
        environment: Mapping[str, str],
        *,
        binds: Sequence[Bind] | None = None,
        share_network: bool,
        wrapped: bool = True,
    ) -> Job:
        job = Job(program, self.scratch, environment, self.uid)
        if self.isolation is None:
            return job
        argv = build_command(
            self.isolation.bubblewrap,
            self.isolation.system,
            binds=self._binds() if binds is None else binds,
            folder=PACKAGES if binds is not None else _PLACE,
            tmp_bytes=_TMP_BYTES,
            share_network=share_network,
            program=program,
        )
        if share_network and wrapped and self.wrap is not None:
            argv = self.wrap(argv)
        return replace(job, argv=argv, filter=self.isolation.filter)

    def _binds(self) -> list[Bind]:
        binds = [Bind(str(self.shown), _PLACE, writable=True), Bind(str(self.uv), _UV)]
        binds += [
            Bind(str(self.shown / "etc" / name), f"/etc/{name}") for name in ("hosts", "nsswitch.conf", "resolv.conf")
        ]
        certificates = {self.index.certificate_folder}
        if self.index.system_certificates:
            certificates.add(_SYSTEM_CERTIFICATES)
        readable = [folder for folder in certificates if folder is not None and Path(folder).is_dir()]
        readable += [str(_holder(folder)) for folder in self.index.folders]
        return binds + [Bind(each, each) for each in sorted(set(readable))]


def _holder(folder: Path) -> Path:
    """The folder to show for an index: pages of `simple/` link to files beside it."""
    beside = folder.parent
    return beside if folder.name == "simple" and beside != beside.parent else folder
