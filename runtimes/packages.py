"""The folders of requirements layers, as drivers find them."""

from __future__ import annotations

from pathlib import Path

from clowdy.runtimes.api import DriverUnavailable


def find_layer(layers: Path, digest: str | None) -> Path | None:
    """The folder of a layer below `layers`; None for no layer. Raises DriverUnavailable when it is not there."""
    if digest is None:
        return None
    folder = layers / digest
    if not folder.is_dir():
        raise DriverUnavailable(f"the requirements layer {digest[:12]} is not there: push again to build it")
    return folder
