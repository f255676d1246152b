"""Layers of given files, as a build leaves them, for whatever driver is under contract."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from clowdy.runtimes.api import Driver
from clowdy.runtimes.docker.archive import pack
from clowdy.runtimes.docker.container import PACKAGES, maker_config
from clowdy.runtimes.docker.driver import DockerDriver


async def install(driver: Driver, data_dir: Path, digest: str, files: Mapping[str, str]) -> None:
    """The layer `digest` of a driver of `data_dir` has `files`, by their paths."""
    if isinstance(driver, DockerDriver):
        await _make_image(driver, digest, files)
        return
    folder = data_dir / "layers" / digest
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    for each in (folder, *folder.rglob("*")):
        each.chmod(0o755 if each.is_dir() else 0o644)


async def _make_image(driver: DockerDriver, digest: str, files: Mapping[str, str]) -> None:
    if digest in driver.images.packages:
        return
    below = PACKAGES[1:]
    folders = {str(parent) for path in files for parent in PurePosixPath(below, path).parents if parent.name}
    content = {f"{below}/{path}": (0o444, text.encode()) for path, text in files.items()}
    archive = pack(dict.fromkeys(folders, 0o555), content)
    config = maker_config(driver.images.base.root, ["true"], labels={})
    container = await driver.engine.ask(lambda client: client.create_container_from_config(config)["Id"])
    await driver.engine.ask(lambda client: client.put_archive(container, "/", archive))
    await driver.images.keep(container, digest)
    await driver.engine.ask(lambda client: client.remove_container(container, force=True))
