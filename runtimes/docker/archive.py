"""Files for a container as a tar: the same bytes for the same files. Pure."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping


def pack(folders: Mapping[str, int], files: Mapping[str, tuple[int, bytes]], owner: int = 0) -> bytes:
    """A tar of `folders` by their modes and `files` by mode and content, given to `owner`; paths without a first /."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, mode in sorted(folders.items()):
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, owner, owner
            tar.addfile(entry)
        for path, (mode, content) in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode, entry.uid, entry.gid = len(content), mode, owner, owner
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
