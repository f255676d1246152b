"""The starter projects that `clowdy init` copies."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Starter:
    """What to do with a starter besides the push: commands before it, and the first call with `{url}` in it."""

    before: tuple[str, ...]
    call: str


AVAILABLE = {
    "hello": Starter((), "curl {url}/"),
    "fastapi": Starter((), "curl {url}/items"),
    "flask": Starter((), "curl {url}/"),
    "data": Starter((), "curl --data-binary @photo.jpg -o small.jpg '{url}/thumbnail?size=200'"),
    "webhook": Starter(("openssl rand -hex 32 | clowdy secret set WEBHOOK_SECRET",), "curl -X POST {url}/"),
}
_SKIPPED = {"__pycache__"}


def copy(starter: str, folder: Path, server: str) -> list[str]:
    """Writes a starter into `folder`; gives the paths. Its clowdy.yaml names the schema of `server`."""
    return sorted(_copy(files("clowdy.templates") / "starters" / starter, folder, "", server))


def _copy(source: Traversable, folder: Path, prefix: str, server: str) -> list[str]:
    folder.mkdir(exist_ok=True)
    paths = []
    for item in source.iterdir():
        if item.name in _SKIPPED:
            continue
        path = f"{prefix}{item.name}"
        if item.is_dir():
            paths += _copy(item, folder / item.name, f"{path}/", server)
            continue
        content = item.read_bytes()
        if path == "clowdy.yaml":
            content = f"# yaml-language-server: $schema={server}/schema/clowdy.schema.json\n".encode() + content
        (folder / item.name).write_bytes(content)
        paths.append(path)
    return paths
