"""What a project wants installed, and the lock that it became: pure values in the text form of pip's requirements.

A lock's text has nothing but pins, one a line, and their hashes: no option, no URL, no path, no variable, no extra.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from clowdy.schema.rejection import Rejection
from clowdy.schema.requirements import check_requirement
from clowdy.schema.text import quoted

FORMAT = 1
LARGEST_LOCK_BYTES = 8 * 1024 * 1024
MOST_PINS = 2000
FROM_AN_INDEX = "install it from the index, or put its code into the repository"
"""What to do with a package that comes from elsewhere."""
FROM_THE_TREE = (
    "take it out of the dependencies, and put its code where functions import from: "
    "the top of the repository or their first `source`"
)
"""What to do with one that is a folder of source code."""

_CODE = "lock"
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})\Z")
_CONTINUED = " \\\n"
_LONGEST_VERSION = 200


@dataclass(frozen=True, slots=True, order=True)
class Pin:
    """One version of one package, and the SHA-256 of each file that may be installed as it, in hex, sorted.

    `marker` says where it is wanted, empty for everywhere. Made by `pin`, which checks.
    """

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        condition = f" ; {self.marker}" if self.marker else ""
        return _CONTINUED.join(
            [f"{self.name}=={self.version}{condition}", *(f"    --hash=sha256:{digest}" for digest in self.hashes)]
        )


def pin(name: str, version: str, hashes: Iterable[str], marker: str = "") -> Pin:
    """A checked pin with its name and version in the usual form; raises Rejection."""
    requirement = f"{name}=={version}"
    if marker:
        requirement += f" ; {marker}"
    if len(version) > _LONGEST_VERSION:
        raise Rejection(_CODE, f"{quoted(version)} is not a version: it is too long")
    parsed = _parsed(check_requirement(requirement))
    if parsed.extras:
        raise Rejection(_CODE, f"{quoted(requirement)} has extras", "a lock names what they stand for itself")
    specifiers = list(parsed.specifier)
    if len(specifiers) != 1 or specifiers[0].operator != "==":
        raise Rejection(_CODE, f"{quoted(requirement)} is not one version")
    try:
        exact = str(Version(specifiers[0].version))
    except InvalidVersion:
        raise Rejection(_CODE, f"{quoted(version)} is not one version of {quoted(name)}") from None
    known = tuple(sorted(set(hashes)))
    if not known:
        raise Rejection(_CODE, f"{quoted(f'{name}=={exact}')} has no SHA-256 hash", "make the lock again with hashes")
    for digest in known:
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise Rejection(_CODE, f"{quoted(digest)} is not a SHA-256 hash of {quoted(f'{name}=={exact}')}")
    return Pin(canonicalize_name(parsed.name), exact, str(parsed.marker) if parsed.marker else "", known)


def print_lock(pins: Iterable[Pin]) -> str:
    """The canonical text of a lock: sorted, each pin once."""
    return "".join(f"{each}\n" for each in sorted(set(pins)))


def parse_lock(text: str) -> tuple[Pin, ...]:
    """The pins of a lock's text, in its order; raises Rejection for all that is not pins with hashes.

    Comments and blank lines are passed over. Two pins of one name are allowed where each has a marker.
    """
    if len(text) > LARGEST_LOCK_BYTES:
        raise Rejection(_CODE, f"the lock is larger than {LARGEST_LOCK_BYTES // 1024 // 1024} MB")
    pins: list[Pin] = []
    for line in text.replace("\r\n", "\n").replace("\\\n", " ").split("\n"):
        bare = re.sub(r"(^|[ \t]+)#.*", "", line).strip(" \t")
        if not bare:
            continue
        if len(pins) == MOST_PINS:
            raise Rejection(_CODE, f"the lock has more than {MOST_PINS} packages")
        pins.append(_parse_line(bare))
    always = [each.name for each in pins if not each.marker]
    for name in sorted({each.name for each in pins}):
        if name in always and sum(each.name == name for each in pins) > 1:
            raise Rejection(_CODE, f"the lock has {quoted(name)} twice")
    return tuple(pins)


def _parse_line(line: str) -> Pin:
    requirement, *options = re.split(r"[ \t]+(?=--)", line)
    hashes = []
    for option in options:
        found = _HASH.match(option)
        if found is None:
            raise Rejection(_CODE, f"{quoted(option)} is not allowed in a lock", "a lock has --hash=sha256:… alone")
        hashes.append(found[1])
    parsed = _parsed(check_requirement(requirement))
    if parsed.extras:
        raise Rejection(_CODE, f"{quoted(requirement)} has extras", "a lock names what they stand for itself")
    specifiers = list(parsed.specifier)
    if len(specifiers) != 1 or specifiers[0].operator != "==":
        raise Rejection(_CODE, f"{quoted(requirement)} is not pinned", "a lock has NAME==VERSION on every line")
    return pin(parsed.name, specifiers[0].version, hashes, str(parsed.marker) if parsed.marker else "")


def _parsed(line: str) -> Requirement:
    try:
        return Requirement(line)
    except (InvalidRequirement, InvalidMarker, RecursionError, ValueError):
        raise Rejection(_CODE, f"{quoted(line)} is not a requirement") from None


def chosen(pins: Iterable[Pin], environment: Mapping[str, str]) -> tuple[Pin, ...]:
    """The pins whose markers hold in `environment`, without the markers; raises Rejection for two of one name.

    `environment` has the names of PEP 508 (`python_version`, `sys_platform`, …).
    """
    found: dict[str, Pin] = {}
    for each in pins:
        if each.marker and not _holds(each.marker, environment):
            continue
        other = found.get(each.name)
        if other is not None and (other.version, other.hashes) != (each.version, each.hashes):
            raise Rejection(_CODE, f"the lock has {each.name} twice here: {other.version} and {each.version}")
        found[each.name] = Pin(each.name, each.version, "", each.hashes)
    return tuple(sorted(found.values()))


def _holds(marker: str, environment: Mapping[str, str]) -> bool:
    try:
        # `extra` is empty: what extras stand for is in a lock without a condition.
        return Marker(marker).evaluate({**environment, "extra": ""})
    except (InvalidMarker, UndefinedComparison, UndefinedEnvironmentName, ValueError):
        raise Rejection(_CODE, f"{quoted(marker)} cannot be decided") from None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a project asks for: PEP 508 lines, or the lock that its repository brings, or both.

    With a `lock` nothing is resolved: the lines say only what the lock was made from.
    """

    lines: tuple[str, ...]
    lock: str | None = None

    @property
    def text(self) -> str:
        """The text by which a lock is kept: equal for what only order, blanks and comments tell apart."""
        lines = sorted({_usual(line) for line in self.lines})
        content: dict[str, object] = {"format": FORMAT, "lines": lines}
        if self.lock is not None:
            content["lock"] = print_lock(parse_lock(self.lock))
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """64 hex digits of `text`."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def _usual(line: str) -> str:
    requirement = _parsed(check_requirement(line))
    requirement.name = canonicalize_name(requirement.name)
    requirement.extras = {canonicalize_name(extra) for extra in requirement.extras}
    return str(requirement)


@dataclass(frozen=True, slots=True)
class Lock:
    """Every package of a layer, pinned and hashed, for one Python (`3.11`) and one platform (`linux-x86_64-glibc`).

    `text` is canonical: `print_lock` of pins without markers. `Lock.read` checks a text from elsewhere.
    """

    text: str
    python: str
    platform: str

    @classmethod
    def of(cls, pins: Iterable[Pin], python: str, platform: str) -> Lock:
        """The lock of `pins`."""
        return cls(print_lock(pins), python, platform)

    @classmethod
    def read(cls, text: str, python: str, platform: str) -> Lock:
        """The lock with the pins of `text`; raises Rejection when it has anything else."""
        return cls.of(parse_lock(text), python, platform)

    @property
    def digest(self) -> str:
        """64 hex digits: what a layer made from this lock is called."""
        content = json.dumps([FORMAT, self.python, self.platform, self.text], separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def pins(self) -> tuple[Pin, ...]:
        """Its packages, sorted by name."""
        return parse_lock(self.text)

    @property
    def versions(self) -> Mapping[str, str]:
        """The version of each package, by name."""
        return {each.name: each.version for each in self.pins}
