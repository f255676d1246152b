"""The folder of all layers: `DATA/layers/DIGEST/` when complete, and the scratch folders of builds beside them."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from clowdy.runtimes.layers.tree import delete, sync
from clowdy.runtimes.layers.watch import Taken, taken

BUILDS = ".builds"
_SIZES = ".sizes"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class LayerStore:
    """Blocks wherever it touches the disk, but for `has` and `sizes`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: dict[str, int] = {}

    def open(self) -> None:
        """Removes what builds that were cut off have left, and looks at what is there."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        for name in (BUILDS, _SIZES):
            (self._folder / name).mkdir(exist_ok=True, mode=0o711)
        for left in (self._folder / BUILDS).iterdir():
            delete(left)
        self._sizes = read_sizes(self._folder)

    def has(self, digest: str) -> bool:
        """Whether that layer is complete."""
        return digest in self._sizes

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes on disk, by digest."""
        return dict(self._sizes)

    def scratch(self, uid: int | None) -> Path:
        """A new folder for one build, which its user alone may enter."""
        folder = self._folder / BUILDS / secrets.token_hex(6)
        folder.mkdir(mode=0o700)
        if uid is not None:
            os.chown(folder, uid, uid)
        return folder

    def complete(self, digest: str, site: Path, size: Taken) -> None:
        """`site`, which is sealed, becomes the layer; after a power failure it is there whole or not at all."""
        sync(site)
        (self._folder / _SIZES / digest).write_text(json.dumps({"bytes": size.bytes, "files": size.files}) + "\n")
        if os.geteuid() != 0:
            # Only its owner's write permission lets an ordinary user move a folder.
            site.chmod(0o755)
        site.rename(self._folder / digest)
        (self._folder / digest).chmod(0o555)
        sync(self._folder)
        self._sizes[digest] = size.bytes

    def remove(self, digests: Iterable[str]) -> None:
        """Removes layers; unknown ones are passed over."""
        for digest in digests:
            if self._sizes.pop(digest, None) is None:
                continue
            aside = self._folder / BUILDS / secrets.token_hex(6)
            if os.geteuid() != 0:
                (self._folder / digest).chmod(0o755)
            (self._folder / digest).rename(aside)
            (self._folder / _SIZES / digest).unlink(missing_ok=True)
            delete(aside)


def read_sizes(folder: Path) -> dict[str, int]:
    """Bytes on disk of every layer in the folder of all, by digest; blocks, and changes nothing."""
    if not folder.is_dir():
        return {}
    return {
        each.name: _read_size(folder, each.name)
        for each in folder.iterdir()
        if _DIGEST.fullmatch(each.name) and each.is_dir()
    }


def _read_size(folder: Path, digest: str) -> int:
    try:
        return int(json.loads((folder / _SIZES / digest).read_text())["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return taken(folder / digest).bytes
