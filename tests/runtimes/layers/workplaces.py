"""Where requirements become something that functions use, for one set of promises: folders, or images of an engine."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Protocol

import pytest

from clowdy.runtimes.docker import packages
from clowdy.runtimes.docker.connections import Connections
from clowdy.runtimes.docker.container import SERVER
from clowdy.runtimes.docker.driver import server_name
from clowdy.runtimes.docker.engine import Engine
from clowdy.runtimes.docker.images import Images
from clowdy.runtimes.docker.packages import ImagePackages
from clowdy.runtimes.layers import premises
from clowdy.runtimes.layers.api import BuildFailed
from clowdy.runtimes.layers.builder import Apart, LayerBuilder
from clowdy.runtimes.layers.index import Index
from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.layers.maker import Maker
from clowdy.runtimes.sandbox.identities import container_build_identity
from clowdy.runtimes.sandbox.network import PUBLIC_ONLY
from clowdy.schema.locks import Lock, Wanted, pin
from tests.runtimes.layers.wheels import digest_of


class Workplace(Protocol):
    """`folder` has a folder `wheels`, which is the index unless another is named. `owner` is whose the files become."""

    folder: Path
    owner: int

    async def open(self, index: Index | None = None, *, limits: BuildLimits | None = None) -> Maker:
        """One that makes locks and layers; all of a workplace are of one data directory."""
        ...

    async def layer(self, lock: Lock) -> Path:
        """The files of a layer, or a copy of them; a folder that does not exist where there is none."""
        ...

    async def left(self) -> list[str]:
        """What builds have left behind, which should be nothing."""
        ...

    def replace_uv(self, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
        """Builds run this in the place of uv."""
        ...

    async def close(self) -> None:
        """Closes all that was opened."""
        ...


def wheels_of(folder: Path) -> Index:
    """An index that is the folder `wheels` in `folder`."""
    return Index(no_index=True, find_links=(str(folder / "wheels"),))


class LayerWorkplace:
    """Implements `Workplace` by folders, made in bubblewrap."""

    def __init__(self, folder: Path, owner: int) -> None:
        self.folder = folder
        self.owner = owner
        self._opened: list[LayerBuilder] = []

    async def open(
        self, index: Index | None = None, *, apart: Apart = Apart.WHOLLY, limits: BuildLimits | None = None
    ) -> LayerBuilder:
        run = self.folder / "run"
        builder = LayerBuilder(self.folder / "layers", run, index or wheels_of(self.folder), apart=apart, limits=limits)
        await builder.open()
        self._opened.append(builder)
        return builder

    async def layer(self, lock: Lock) -> Path:
        return self.folder / "layers" / lock.digest

    async def left(self) -> list[str]:
        return [path.name for path in (self.folder / "layers" / ".builds").iterdir()]

    def replace_uv(self, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
        program = _program(self.folder, script)
        monkeypatch.setattr(premises, "find_uv", lambda folder, for_any_user: program)

    async def close(self) -> None:
        for builder in self._opened:
            await builder.close()


class ImageWorkplace:
    """Implements `Workplace` by images of the engine at `address`, which has a base image."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.engine = Engine(address)
        self.images: Images
        self.connections: Connections
        self._data = folder / "data"
        self._server = server_name(self._data)
        self.owner = container_build_identity(self._data, few=False)
        self._opened: list[ImagePackages] = []
        self._copies = 0

    async def open(self, index: Index | None = None, *, limits: BuildLimits | None = None) -> ImagePackages:
        again = bool(self._opened)
        if not again:
            await self.engine.open()
        self.images = Images(self.engine, self._server, self._data / "docker")
        await self.images.open()
        if not again:
            self.connections = Connections(self.engine, self.images, self._server, PUBLIC_ONLY)
            await self.connections.open()
        made = ImagePackages(
            self._data,
            self.engine,
            self.images,
            self.connections,
            index or wheels_of(self.folder),
            limits=limits,
        )
        self._opened.append(made)
        return made

    async def layer(self, lock: Lock) -> Path:
        self._copies += 1
        copy = self.folder / f"copy-{self._copies}"
        image = self.images.packages.get(lock.digest)
        if image is None:
            return copy / "packages"

        def fetch(client: object) -> bytes:
            container = client.create_container(image.id, ["true"])["Id"]  # type: ignore[attr-defined]
            try:
                return b"".join(client.get_archive(container, "/packages")[0])  # type: ignore[attr-defined]
            finally:
                client.remove_container(container, force=True)  # type: ignore[attr-defined]

        archive = await self.engine.ask(fetch)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(copy, numeric_owner=True)
        return copy / "packages"

    async def left(self) -> list[str]:
        mine = {"label": f"{SERVER}={self._server}"}
        found = await self.engine.ask(lambda client: client.containers(all=True, filters=mine))
        return [str(each["Names"]) for each in found]

    def replace_uv(self, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
        program = _program(self.folder, script)
        monkeypatch.setattr(packages, "find_uv", lambda folder, for_any_user: program)

    async def close(self) -> None:
        if not self._opened:
            return
        for each in self._opened:
            await each.remove(tuple(each.sizes()))
            await each.close()
        await self.connections.close()
        await self.engine.close()


def _program(folder: Path, script: str) -> Path:
    program = folder / "uv"
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit 0\n{script}\n')
    program.chmod(0o755)
    return program


def ignore(line: str) -> None:
    """Nobody listens."""


async def installed(maker: Maker, *lines: str) -> Lock:
    """The lock of `lines`, whose layer is there."""
    lock = await maker.resolve(Wanted(lines), say=ignore)
    await maker.build(lock, ignore)
    return lock


def lock_of(maker: Maker, *wheels: Path) -> Lock:
    """A lock that was not resolved."""
    pins = [pin(*wheel.name.split("-")[:2], [digest_of(wheel)]) for wheel in wheels]
    return Lock.of(pins, maker.python, maker.platform)


async def refusal(maker: Maker, *lines: str) -> str:
    """Why `lines` cannot be installed, in words that name no place of the build."""
    with pytest.raises(BuildFailed) as caught:
        await installed(maker, *lines)
    assert "/build" not in caught.value.text
    assert "clowdy-layers-" not in caught.value.text
    return caught.value.text
