"""The images that functions start from: the base with the runner in it, and one more for each lock that is installed.

A packages image is the base with /packages, and is named by what it was made of; a functions image is one of both with
the runner, made again in a moment when the runner changed. Images are shared by all projects and all servers of an
engine: each server has a tag of its own for what it uses, so that an image goes with its last tag.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from operator import methodcaller
from pathlib import Path
from typing import Any

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.docker import system_image
from clowdy.runtimes.docker.archive import pack
from clowdy.runtimes.docker.base import LOCAL, Base, base_tag, commit, find_base, make, repository
from clowdy.runtimes.docker.container import ENGINES_INIT, GROUP, INIT, RUNNER
from clowdy.runtimes.docker.engine import Engine, Missing, Refused
from clowdy.runtimes.runner import Python, find_python, runner_sources

log = logging.getLogger(__name__)

_PACKAGES = "clowdy.packages"
_FUNCTIONS = "clowdy.functions"
_LOCK = "clowdy.lock"
_FACTS = "base.json"
_GROUPS = f"root:x:0:\nfunction:x:{GROUP}:\n"
# A process whose program nobody may read is closed to others of its own user: init holds the pipes to the engine, which
# would spend its own time on what a function writes to them.
_FURNISH = f"""
import compileall, os, py_compile, shutil, sys
shutil.copyfile("{ENGINES_INIT}", "{INIT}")
os.chmod("{INIT}", 0o111)
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
sys.exit(not compileall.compile_dir("{RUNNER}", quiet=1, invalidation_mode=mode))
"""


@dataclass(frozen=True, slots=True)
class PackagesImage:
    """What is installed for one lock; `bytes` are what it takes besides the base."""

    id: str
    bytes: int


class Images:
    """The images of one server.

    `wanted` names the base image, None for the local one or else the usual one. `folder` is the server's, in it what
    has to be known while the engine is down. `rebuild` is asked to bring back the packages of a lock's digest. For a
    `trial` no image is pulled, and `close` leaves none behind.
    """

    def __init__(
        self, engine: Engine, server: str, folder: Path, wanted: str | None = None, *, trial: bool = False
    ) -> None:
        self._engine = engine
        self._server = server
        self._folder = folder
        self._wanted = wanted
        self._trial = trial
        self._runner = _runner_archive()
        self._base: Base | None = None
        self._packages: dict[str, PackagesImage] = {}
        self._functions: dict[str | None, str] = {}
        self._making = asyncio.Lock()
        self.rebuild: Callable[[str], str] = lambda digest: "push again to build it"

    @property
    def base(self) -> Base:
        """The base image; what it was at the last start while the engine has not answered yet."""
        if not self.known or self._base is None:
            raise DriverUnavailable("the base image is not known yet: the Docker Engine has not answered")
        return self._base

    @property
    def known(self) -> bool:
        """Whether `base` can be asked."""
        if self._base is None:
            self._base = self._remembered()
        return self._base is not None

    async def open(self) -> None:
        """Finds the base image and what is built on it; raises DriverUnavailable with the cure."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._base = await find_base(
            self._engine, self._wanted, self._server, self._remembered(), self._make_local, pulls=not self._trial
        )
        self._remember(self._base)
        self._functions.clear()
        await self.look()
        await self.of(None)

    async def _make_local(self) -> str:
        log.warning("the base image %s is gone, and made from this machine again", LOCAL)
        return await system_image.make(self._engine, find_python(None, for_any_user=True))

    async def look(self) -> None:
        """Looks which packages images there are."""
        root = await self._engine.ask(lambda client: client.inspect_image(self.base.root))
        found = await self._engine.ask(lambda client: client.images(filters={"label": _PACKAGES}))
        names = {self.name(digest): digest for image in found if (digest := image["Labels"].get(_LOCK))}
        self._packages = {}
        for image in found:
            name = image["Labels"][_PACKAGES]
            # What is built on another base has another name, and a functions image has the labels of its packages.
            if name in names and not image["Labels"].get(_FUNCTIONS):
                self._packages[names[name]] = _besides(root, image)

    def name(self, digest: str) -> str:
        """32 hex digits for base, Python, platform and lock."""
        base = self.base
        made_of = f"{base.id}\n{base.python.version}\n{base.platform}\n{digest}"
        return hashlib.sha256(made_of.encode()).hexdigest()[:32]

    @property
    def packages(self) -> Mapping[str, PackagesImage]:
        """What is installed on this engine, by whichever server, by the digest of its lock."""
        return self._packages

    async def keep(self, container: str, digest: str) -> PackagesImage:
        """The packages image of a lock, from the container in which it was installed."""
        name = self.name(digest)
        labels = [f"{_PACKAGES}={name}", f"{_LOCK}={digest}", f"{_FUNCTIONS}="]
        made = await commit(self._engine, container, self._server, f"packages-{name}", labels)
        image, root = await asyncio.gather(
            self._engine.ask(lambda client: client.inspect_image(made)),
            self._engine.ask(lambda client: client.inspect_image(self.base.root)),
        )
        found = self._packages[digest] = _besides(root, image)
        return found

    async def of(self, digest: str | None) -> str:
        """The id of the functions image for a lock, or for none; raises DriverUnavailable when it cannot be had now."""
        if digest in self._functions:
            return self._functions[digest]
        async with self._making:
            if digest not in self._functions:
                try:
                    self._functions[digest] = await self._make(digest)
                except Missing:
                    if digest is None:
                        raise
                    raise self._gone(digest) from None
            return self._functions[digest]

    async def _make(self, digest: str | None) -> str:
        if digest is not None:
            await self.claim(digest)
        parent = self.base.root if digest is None else self._parent(digest)
        name = self._functions_name(parent)
        found = await self._engine.ask(lambda client: client.images(filters={"label": f"{_FUNCTIONS}={name}"}))
        if found:
            await self._own(found[0]["Id"], f"functions-{name}")
            return str(found[0]["Id"])
        program = [self.base.python.executable, "-I", "-S", "-c", _FURNISH]
        try:
            return await make(
                self._engine,
                parent,
                program,
                self._server,
                tag=f"functions-{name}",
                label=f"{_FUNCTIONS}={name}",
                archive=self._runner,
            )
        except Refused as error:
            raise DriverUnavailable(f"the image for functions cannot be made: {error}") from None

    def _functions_name(self, parent: str) -> str:
        return hashlib.sha256(f"{parent}\0{_FURNISH}\0".encode() + self._runner).hexdigest()[:32]

    def _parent(self, digest: str) -> str:
        found = self._packages.get(digest)
        if found is None:
            raise self._gone(digest)
        return found.id

    def _gone(self, digest: str) -> DriverUnavailable:
        self._packages.pop(digest, None)
        return DriverUnavailable(
            f"the image of the requirements {digest[:12]} is not there: {self.rebuild(digest)}", passing=True
        )

    async def claim(self, digest: str) -> None:
        """Gives the packages image of a lock the name of this server: it stays when others give it up.

        Raises Missing when it is there no longer.
        """
        image = self._parent(digest)
        try:
            await self._own(image, f"packages-{self.name(digest)}")
        except Missing:
            self._packages.pop(digest, None)
            raise

    async def _own(self, image: str, tag: str) -> None:
        await self._engine.ask(lambda client: client.tag(image, repository(self._server), tag))

    async def lost(self, digest: str | None) -> None:
        """An image that was there is there no longer: what is left is found anew, and the rest made again."""
        self._functions.pop(digest, None)
        try:
            await self.look()
        except Missing:
            self._base = None
            await self.open()

    async def remove(self, digest: str) -> None:
        """Gives up the images of a lock; the engine deletes them with their last tag, unless a container has them."""
        self._functions.pop(digest, None)
        image = self._packages.get(digest)
        if image is None:
            return
        self._packages.pop(digest, None)
        await self._give_up([f"functions-{self._functions_name(image.id)}", f"packages-{self.name(digest)}"])

    async def tidy(self) -> None:
        """Gives up what was made of an earlier runner or base image: nothing here starts from it any more."""
        parents = [self.base.root, *(image.id for image in self._packages.values())]
        kept = {base_tag(self.base.id), *(f"packages-{self.name(digest)}" for digest in self._packages)}
        kept |= {f"functions-{self._functions_name(parent)}" for parent in parents}
        await self._give_up(await self._tags() - kept)

    async def _give_up(self, tags: Iterable[str]) -> None:
        # Those made of others first, as their names have it.
        for tag in sorted(tags, key=_order):
            try:
                await self._engine.ask(methodcaller("remove_image", f"{repository(self._server)}:{tag}"))
            except Missing:
                continue
            except Refused as error:
                log.info("%s stays for now: %s", tag, error)

    async def close(self) -> None:
        """Gives up what was used, after a trial."""
        if self._trial:
            await self._give_up(await self._tags())

    async def _tags(self) -> set[str]:
        ours = f"{repository(self._server)}:"
        found = await self._engine.ask(lambda client: client.images(name=repository(self._server)))
        names = [name for image in found for name in image.get("RepoTags") or () if name.startswith(ours)]
        return {name.removeprefix(ours) for name in names}

    def _remember(self, base: Base) -> None:
        path = self._folder / _FACTS
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(base) | {"python": list(base.python)}) + "\n")
        temporary.replace(path)

    def _remembered(self) -> Base | None:
        try:
            said: dict[str, Any] = json.loads((self._folder / _FACTS).read_text())
            python = Python(*map(str, said.pop("python")))
            return Base(python=python, **{key: str(value) for key, value in said.items()})
        except (OSError, ValueError, TypeError, KeyError):
            return None


def _besides(root: Mapping[str, Any], image: Mapping[str, Any]) -> PackagesImage:
    return PackagesImage(str(image["Id"]), max(0, int(image["Size"]) - int(root["Size"])))


def _order(tag: str) -> int:
    return ("functions", "packages", "base").index(tag.partition("-")[0])


def _runner_archive() -> bytes:
    """The runner's files as a tar, the same bytes for the same files."""
    files = {f"{RUNNER[1:]}/{path}": content for path, content in runner_sources().items()}
    files["etc/group"] = _GROUPS.encode()
    folders = {str(parent) for path in files for parent in Path(path).parents if str(parent) not in (".", "etc")}
    return pack(dict.fromkeys(folders, 0o755), {path: (0o444, content) for path, content in files.items()})
