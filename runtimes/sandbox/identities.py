"""A host user of its own for each instance, where the server may give them."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from pathlib import Path

# Above what distributions, systemd and containers hand out, below 2**31.
_FIRST, _SLOTS, _SLOT_SIZE = 0x70000000, 2048, 16384
# For a server in a container that has 65,536 users.
_SMALL_FIRST, _SMALL_SIZE = 40000, 20000
# The last ones of a range are for builds, so that none is a build's and an instance's at once.
_FOR_BUILDS = 64


class Identities:
    """Hands out user ids of one range; an id comes back as late as possible."""

    def __init__(self, first: int, size: int) -> None:
        self.first = first
        self._next = first
        self._end = first + size
        self._free: deque[int] = deque()

    def take(self) -> int:
        """An id that no living instance has."""
        if self._next < self._end:
            self._next += 1
            return self._next - 1
        return self._free.popleft()

    def give_back(self, uid: int) -> None:
        """The instance with this id is gone."""
        self._free.append(uid)


def choose_identities(data_dir: Path, uid_map: str | None = None) -> Identities | None:
    """The ids for a server of `data_dir`, or None where it may give none. Two servers rarely share a range."""
    found = _choose(data_dir, uid_map)
    return None if found is None else Identities(found[0], found[1] - _FOR_BUILDS)


def choose_build_identities(data_dir: Path, uid_map: str | None = None) -> Identities | None:
    """Those for builds; none of them is one of `choose_identities`."""
    found = _choose(data_dir, uid_map)
    return None if found is None else Identities(found[0] + found[1] - _FOR_BUILDS, _FOR_BUILDS)


def container_identities(data_dir: Path, *, few: bool) -> Identities:
    """The ids for containers of a server of `data_dir`: the engine gives them, whoever asks. `few` where it has few."""
    if few:
        return Identities(_SMALL_FIRST, _SMALL_SIZE - _FOR_BUILDS)
    return Identities(_FIRST + _slot(data_dir) * _SLOT_SIZE, _SLOT_SIZE - _FOR_BUILDS)


def container_build_identity(data_dir: Path, *, few: bool) -> int:
    """The user of builds in containers, which no instance has."""
    first = container_identities(data_dir, few=few).first
    return first + (_SMALL_SIZE if few else _SLOT_SIZE) - _FOR_BUILDS


def _slot(data_dir: Path) -> int:
    return int.from_bytes(hashlib.sha256(os.fsencode(data_dir.resolve())).digest()[:4], "big") % _SLOTS


def _choose(data_dir: Path, uid_map: str | None) -> tuple[int, int] | None:
    if os.geteuid() != 0:
        return None
    text = Path("/proc/self/uid_map").read_text() if uid_map is None else uid_map
    for first, size in ((_FIRST + _slot(data_dir) * _SLOT_SIZE, _SLOT_SIZE), (_SMALL_FIRST, _SMALL_SIZE)):
        for line in text.splitlines():
            inside, _, count = (int(field) for field in line.split())
            if inside <= first and first + size <= inside + count:
                return first, size
    return None
