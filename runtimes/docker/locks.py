"""The locks whose images this server uses, in its own folder: what is needed to make a lost image again."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path

from clowdy.schema.locks import Lock
from clowdy.schema.rejection import Rejection

_DIGEST = re.compile(r"[0-9a-f]{64}")


class KeptLocks:
    """One file for each lock in `folder`, called by its digest. Blocks; `has` for no longer than a look."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of(cls, data_dir: Path) -> KeptLocks:
        """Those of a server's data directory."""
        return cls(data_dir / "docker" / "locks")

    def has(self, digest: str) -> bool:
        """Whether it is kept."""
        return _DIGEST.fullmatch(digest) is not None and (self._folder / digest).exists()

    def keep(self, lock: Lock) -> None:
        """Keeps it, unless it is kept."""
        if self.has(lock.digest):
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Of its own: several may keep the same one at the same time.
        temporary = self._folder / f"{lock.digest}.{secrets.token_hex(6)}"
        temporary.write_text(json.dumps([lock.python, lock.platform, lock.text]) + "\n")
        temporary.replace(self._folder / lock.digest)

    def find(self, digest: str) -> Lock | None:
        """The lock, if it is kept and still the one of that digest."""
        if not self.has(digest):
            return None
        try:
            python, platform, text = json.loads((self._folder / digest).read_text())
            lock = Lock.read(text, python, platform)
        except (OSError, ValueError, TypeError, AttributeError, Rejection):
            return None
        return lock if lock.digest == digest else None

    def remove(self, digest: str) -> None:
        """Forgets it."""
        if self.has(digest):
            (self._folder / digest).unlink(missing_ok=True)
