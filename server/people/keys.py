"""The keys that seal secrets: one that is in use, and older ones that still open."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clowdy.server.errors import ClowdyError, StartError

KEY_BYTES = 32
FILE = Path("keys") / "secret.key"

_FORMAT = b"\x01"
_ID_BYTES = 4
_NONCE_BYTES = 12


class CannotOpen(ClowdyError):
    """The secret was sealed with a key that this server does not have, or for another place"""


class Keyring:
    """Seals with the first key and opens with any. What is sealed: format, key id, nonce, AES-256-GCM ciphertext."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("a keyring has at least one key")
        self._keys = {_key_id(key): AESGCM(key) for key in reversed(keys)}
        self._first = _key_id(keys[0])

    def seal(self, value: bytes, project_id: str, name: str) -> bytes:
        """`value`, to be opened for the same project and name alone."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._keys[self._first].encrypt(nonce, value, _associated(project_id, name))
        return _FORMAT + self._first + nonce + sealed

    def open(self, sealed: bytes, project_id: str, name: str) -> bytes:
        """What was sealed for this project and name; raises CannotOpen."""
        key = self._keys.get(sealed[1 : 1 + _ID_BYTES])
        if sealed[:1] != _FORMAT or key is None:
            raise CannotOpen(f"{name} was sealed with a key that this server does not have: put it back in {FILE}")
        start = 1 + _ID_BYTES
        try:
            return key.decrypt(
                sealed[start : start + _NONCE_BYTES], sealed[start + _NONCE_BYTES :], _associated(project_id, name)
            )
        except (InvalidTag, ValueError):
            raise CannotOpen(f"{name} was sealed for another project or name, or is damaged: set it again") from None

    def is_current(self, sealed: bytes) -> bool:
        """Whether the key in use sealed this."""
        return sealed[: 1 + _ID_BYTES] == _FORMAT + self._first


def load_keyring(data_dir: Path, from_environment: bytes | None = None) -> Keyring:
    """The keyring of a data directory; its key file is made when neither it nor a key in the environment is there.

    The file has one key in base64 a line, the first of which seals. A key from the environment seals before it.
    Raises StartError for a file that others can read, or that holds something else.
    """
    path = data_dir / FILE
    keys = [from_environment] if from_environment else []
    if path.exists():
        keys += _read(path)
    elif not keys:
        keys.append(_make(path))
    return Keyring(keys)


def _read(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        # The file that was opened is judged, not what stands at its name by then.
        status = os.fstat(file.fileno())
        lines = file.read(64 * 1024).split()
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
        raise StartError(f"{path} can be read by others: chmod 600 {path}, and think of its secrets as known")
    try:
        keys = [base64.b64decode(line, validate=True) for line in lines]
    except binascii.Error:
        keys = []
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise StartError(f"{path} does not hold a key of 32 bytes in base64 a line: put the right file back")
    return keys


def _make(path: Path) -> bytes:
    key = secrets.token_bytes(KEY_BYTES)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Written aside and synced: a key that is lost in a power cut takes every secret that it sealed with it.
    aside = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        file.write(base64.b64encode(key) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link, not a rename: of two processes that make the key at once, one must lose.
        os.link(aside, path)
    except FileExistsError:
        return _read(path)[0]
    finally:
        aside.unlink()
    for folder in (path.parent, path.parent.parent):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return key


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"clowdy secret key " + key).digest()[:_ID_BYTES]


def _associated(project_id: str, name: str) -> bytes:
    # Neither holds a NUL, so that no two pairs make the same bytes.
    return f"{project_id}\0{name}".encode()
