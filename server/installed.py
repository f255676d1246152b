"""What is installed for functions, and what it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from clowdy.runtimes.api import Driver
from clowdy.runtimes.docker.driver import DockerDriver
from clowdy.runtimes.docker.locks import KeptLocks
from clowdy.runtimes.first import in_use
from clowdy.runtimes.layers.store import read_sizes
from clowdy.schema.text import printable
from clowdy.schema.units import format_size
from clowdy.server.config import Config

_PACKAGES_SHOWN = 6


def images_of(config: Config, driver: Driver) -> Mapping[str, int]:
    """Bytes of what is installed in images that an open driver starts functions from, by the lock's digest."""
    chosen = in_use(driver)
    found = chosen.images.packages if isinstance(chosen, DockerDriver) else {}
    locks = KeptLocks.of(config.data_dir)
    return {digest: image.bytes for digest, image in found.items() if locks.has(digest)}


def installed(config: Config, images: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Name and text of a line for all of it, and one for each layer and image, the largest first; blocks."""
    sizes = read_sizes(config.layers)
    counts = [
        f"{len(found)} {name}" + ("s" if len(found) != 1 else "")
        for name, found in (("layer", sizes), ("image", images))
        if found
    ]
    total = format_size(sum(sizes.values()) + sum(images.values()))
    yield "requirements", ", ".join([*counts, total]) if counts else "none installed"
    for digest, size in sorted(sizes.items(), key=_largest_first):
        names = (path.name.removesuffix(".dist-info") for path in (config.layers / digest).glob("*.dist-info"))
        yield "layer", _line(digest, size, (name.replace("-", " ", 1) for name in names))
    locks = KeptLocks.of(config.data_dir)
    for digest, size in sorted(images.items(), key=_largest_first):
        lock = locks.find(digest)
        packages = () if lock is None else lock.pins
        yield "image", _line(digest, size, (f"{each.name} {each.version}" for each in packages))


def _largest_first(item: tuple[str, int]) -> tuple[int, str]:
    digest, size = item
    return -size, digest


def _line(digest: str, size: int, packages: Iterable[str]) -> str:
    """`0123456789ab, 80 MB: numpy 2.1, pillow 11.0, 3 more`."""
    found = sorted(packages)
    shown = ", ".join(printable(name, 60) for name in found[:_PACKAGES_SHOWN])
    more = f", {len(found) - _PACKAGES_SHOWN} more" if len(found) > _PACKAGES_SHOWN else ""
    return f"{digest[:12]}, {format_size(size)}: {shown or 'no packages'}{more}"
