"""Function versions and releases as values, and the record of a release that its tag carries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from clowdy.schema.manifest import FunctionSpec

FORMAT = 1


def version_digest(function: FunctionSpec, code: str, lock: str | None) -> str:
    """The content address of a function version: 64 hex digits.

    `code` is the id of the function's filtered tree, `lock` the digest of its requirements lock. What a release
    decides alone (routes, schedule, `public`, `min_warm`, descriptions) is not part of a version.
    """
    content = {
        "format": FORMAT,
        "code": code,
        "sources": list(function.sources),
        "file": function.file,
        "attribute": function.attribute,
        "type": function.type.value,
        "timeout": function.timeout_seconds,
        "memory": function.memory_bytes,
        "cpu": function.cpu,
        "concurrency": function.concurrency,
        "parallel": function.parallel,
        "network": function.network.value,
        "env": dict(sorted(function.env.items())),
        "secrets": sorted(function.secrets),
        "lock": lock,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class FunctionVersion:
    """Version `number` of a function: what it is called and the address of its content."""

    function_id: str
    name: str
    number: int
    digest: str
    pinned: bool = False

    def __str__(self) -> str:
        return f"{self.name} v{self.number}"


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """Everything that a release's commit does not say: the JSON in the last line of its tag `deploy/N`.

    `previous` is the number of the release that served before, or None. `when` is seconds since 1970, UTC.
    `branch` is the branch that moved to the commit with this release, or None when only `live` did. `lock` is the
    digest of its requirements lock, `locks` the commit of `refs/clowdy/locks` that was the first to have it, where
    this release was made with a new one.
    """

    number: int
    commit: str
    functions: Mapping[str, FunctionVersion]
    previous: int | None
    who: str
    how: str
    when: int
    branch: str | None = None
    lock: str | None = None
    locks: str | None = None

    @property
    def tag(self) -> str:
        """The short name of the release's tag, as people type it."""
        return f"deploy/{self.number}"

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(
            {
                "format": FORMAT,
                "release": self.number,
                "commit": self.commit,
                "functions": [
                    {
                        "id": version.function_id,
                        "name": version.name,
                        "version": version.number,
                        "digest": version.digest,
                        "pinned": version.pinned,
                    }
                    for version in self.functions.values()
                ],
                "branch": self.branch,
                "lock": self.lock,
                "locks": self.locks,
                "previous": self.previous,
                "who": self.who,
                "how": self.how,
                "when": self.when,
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The record that `to_json` wrote; raises ValueError for anything else."""
        try:
            content: dict[str, Any] = json.loads(text)
            if content["format"] != FORMAT:
                raise ValueError(f"release record of format {content['format']}, this server reads {FORMAT}")
            versions = [
                FunctionVersion(
                    function_id=str(item["id"]),
                    name=str(item["name"]),
                    number=int(item["version"]),
                    digest=str(item["digest"]),
                    pinned=bool(item["pinned"]),
                )
                for item in content["functions"]
            ]
            return cls(
                number=int(content["release"]),
                commit=str(content["commit"]),
                functions={version.name: version for version in versions},
                previous=None if content["previous"] is None else int(content["previous"]),
                who=str(content["who"]),
                how=str(content["how"]),
                when=int(content["when"]),
                branch=content["branch"],
                lock=content["lock"],
                locks=content.get("locks"),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a release record: {error!r}") from None
