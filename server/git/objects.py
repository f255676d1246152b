"""One object store read in process, safe from any thread: contents through dulwich, sizes without contents."""

from __future__ import annotations

import re
import subprocess
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path

from dulwich.errors import ObjectFormatException
from dulwich.object_store import DiskObjectStore
from dulwich.objects import ObjectID

from clowdy.schema.units import MEBIBYTE
from clowdy.server.errors import GitError, NotFound
from clowdy.server.git.environment import clean_environment
from clowdy.server.git.loose import Drafts

TYPES = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}

SIZES_KEPT = 60_000
# Below this many objects it is cheaper to look for each as a file than to start a process that knows them all.
FEW = 64

OPEN_AT_ONCE = 16

_hex_id = re.compile(r"[0-9a-f]{40}")


def is_id(text: str) -> bool:
    """Whether `text` is a whole object id."""
    return _hex_id.fullmatch(text) is not None


class OpenStores:
    """Those stores that hold files open; past a number, the ones that were used longest ago are closed."""

    def __init__(self, most: int = OPEN_AT_ONCE) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open: OrderedDict[Objects, None] = OrderedDict()

    def used(self, objects: Objects) -> None:
        """Notes a use, by a thread that holds the lock of `objects`."""
        with self._lock:
            self._open[objects] = None
            self._open.move_to_end(objects)
            surplus = list(self._open)[: max(0, len(self._open) - self._most)]
        for each in surplus:
            # Never waiting: its holder could be about to close this one. What is in use stays.
            if each.close_idle():
                with self._lock:
                    self._open.pop(each, None)

    def forget(self, objects: Objects) -> None:
        """It was closed."""
        with self._lock:
            self._open.pop(objects, None)


class Objects:
    """Reads and writes the objects of one folder, and of `base` behind it when given (a quarantine)."""

    def __init__(
        self, git: str, git_dir: Path, folder: Path, base: Objects | None = None, opened: OpenStores | None = None
    ) -> None:
        self._git = git
        self._open_stores = opened
        self._git_dir = git_dir
        self.folder = folder
        self._base = base
        self._lock = threading.RLock()
        self._store: DiskObjectStore | None = None
        self._sizes: dict[str, int] = base._sizes if base is not None else {}

    @property
    def is_open(self) -> bool:
        """Whether it holds files open."""
        return self._store is not None

    def read(self, oid: str) -> tuple[str, bytes]:
        """Type and content of an object; raises NotFound. What it is said to weigh should be known before."""
        if not is_id(oid):
            raise NotFound(f"{oid!r} is not an object id")
        try:
            with self._lock:
                number, content = self._opened().get_raw(ObjectID(oid.encode()))
        except KeyError:
            if self._base is not None:
                return self._base.read(oid)
            raise NotFound(f"object {oid} is not in this repository") from None
        except (ObjectFormatException, zlib.error, AssertionError, ValueError) as error:
            raise GitError(f"object {oid} cannot be read: {error}") from None
        return TYPES[number], content

    def read_typed(self, oid: str, kind: str) -> bytes:
        """The content of an object of that type; raises NotFound for any other."""
        found, content = self.read(oid)
        if found != kind:
            raise NotFound(f"{oid} is a {found}, not a {kind}")
        return content

    def has(self, oid: str) -> bool:
        """Whether the object is here."""
        if not is_id(oid):
            return False
        with self._lock:
            if ObjectID(oid.encode()) in self._opened():
                return True
        return self._base is not None and self._base.has(oid)

    def write(self, kind: str, content: bytes) -> str:
        """The id of a new object, on disk when this returns."""
        drafts = self.drafts()
        oid = drafts.add(kind, content)
        drafts.write()
        return oid

    def drafts(self) -> Drafts:
        """Collects new objects that are to be on disk together."""
        return Drafts(self.folder, self.has)

    def sizes(self, oids: Iterable[str]) -> dict[str, int]:
        """The size of each object in bytes, without reading any; raises NotFound when one is missing."""
        known = self._sizes
        found: dict[str, int] = {}
        missing: list[str] = []
        for oid in oids:
            size = known.get(oid)
            if size is None:
                missing.append(oid)
            else:
                found[oid] = size
        if not missing:
            return found
        for oid in missing:
            if not is_id(oid):
                raise NotFound(f"{oid!r} is not an object id")
        if len(missing) <= FEW:
            missing = [oid for oid in missing if not self._size_of_loose(oid, found)]
        if missing:
            for oid, (_, size) in zip(missing, self._ask_git(missing), strict=True):
                found[oid] = size
        self.remember(found)
        return found

    def remember(self, sizes: dict[str, int]) -> None:
        """Keeps sizes that are known from elsewhere."""
        if len(self._sizes) + len(sizes) > SIZES_KEPT:
            self._sizes.clear()
        if len(sizes) <= SIZES_KEPT:
            self._sizes.update(sizes)

    def loose_header(self, oid: str) -> tuple[str, int] | None:
        """Type and size of an object that is a file of its own here, else None."""
        try:
            with (self.folder / oid[:2] / oid[2:]).open("rb") as file:
                head = zlib.decompressobj().decompress(file.read(128), 64)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except zlib.error as error:
            raise GitError(f"object {oid} cannot be read: {error}") from None
        kind, _, rest = head.partition(b" ")
        size, end, _ = rest.partition(b"\0")
        if not end or not size.isdigit():
            raise GitError(f"object {oid} cannot be read: bad header")
        return kind.decode("ascii", "replace"), int(size)

    def close(self) -> None:
        """Lets go of files and memory; the next read opens anew and sees packs that were replaced."""
        with self._lock:
            self._close()
        if self._open_stores is not None:
            self._open_stores.forget(self)

    def close_idle(self) -> bool:
        """Closes it unless a thread is reading."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self._close()
        finally:
            self._lock.release()
        return True

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
        if self._base is None:
            self._sizes.clear()

    def _size_of_loose(self, oid: str, found: dict[str, int]) -> bool:
        objects: Objects | None = self
        while objects is not None:
            header = objects.loose_header(oid)
            if header is not None:
                found[oid] = header[1]
                return True
            objects = objects._base
        return False

    def _ask_git(self, oids: Sequence[str]) -> list[tuple[str, int]]:
        answer = self.batch_check(["--batch-check=%(objecttype) %(objectsize)"], "\n".join(oids).encode() + b"\n")
        headers: list[tuple[str, int]] = []
        for oid, line in zip(oids, answer.decode().splitlines(), strict=True):
            kind, _, size = line.partition(" ")
            if not size.isdigit():
                raise NotFound(f"object {oid} is not in this repository")
            headers.append((kind, int(size)))
        return headers

    def batch_check(self, arguments: Sequence[str], data: bytes = b"", *, alone: bool = False) -> bytes:
        """What `git cat-file` says of objects in this folder, with those behind it unless `alone`."""
        extra = {"GIT_DIR": str(self._git_dir), "GIT_OBJECT_DIRECTORY": str(self.folder)}
        if self._base is not None and not alone:
            extra["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = str(self._base.folder)
        try:
            return subprocess.run(
                [self._git, "cat-file", *arguments],
                input=data,
                capture_output=True,
                env=clean_environment({}, extra),
                cwd="/",
                timeout=120,
                check=True,
            ).stdout
        except subprocess.CalledProcessError as error:
            raise GitError(error.stderr.decode(errors="replace").strip() or "git cat-file failed") from None
        except subprocess.TimeoutExpired:
            raise GitError("git cat-file took longer than 120 s") from None

    def _opened(self) -> DiskObjectStore:
        if self._open_stores is not None:
            self._open_stores.used(self)
        if self._store is None:
            self._store = DiskObjectStore(
                self.folder,
                # dulwich does not sync loose objects by default, and what is acknowledged must be on disk.
                fsync_object_files=True,
                packed_git_limit=256 * MEBIBYTE,
                delta_base_cache_limit=4 * MEBIBYTE,
            )
        return self._store
