"""Wheels and source archives that tests make themselves."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    files: Mapping[str, bytes | str] | None = None,
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
    links: Mapping[str, str] | None = None,
) -> Path:
    """A wheel in `folder`: by default one module of the package's name with its `VERSION`."""
    module = name.replace("-", "_")
    content: dict[str, bytes | str] = dict(files or {f"{module}.py": f"VERSION = {version!r}\n"})
    info = f"{module}-{version}.dist-info"
    content[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(
        f"Requires-Dist: {each}\n" for each in requires
    )
    content[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n"
    record = io.StringIO()
    path = folder / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside, data in content.items():
            raw = data.encode() if isinstance(data, str) else data
            archive.writestr(inside, raw)
            digest = base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b"=").decode()
            record.write(f"{inside},sha256={digest},{len(raw)}\n")
        for inside, target in (links or {}).items():
            entry = zipfile.ZipInfo(inside)
            entry.create_system = 3
            entry.external_attr = 0o120777 << 16
            archive.writestr(entry, target)
        record.write(f"{info}/RECORD,,\n")
        archive.writestr(f"{info}/RECORD", record.getvalue())
    return path


def make_source(folder: Path, name: str, version: str = "1.0") -> Path:
    """A source archive whose build would run code."""
    path = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for inside, text in {
            "setup.py": f"import os, setuptools\nos.system('touch /build/ran')\nsetuptools.setup(name={name!r})\n",
            "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        }.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{inside}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
