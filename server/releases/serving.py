"""What serves a project: one release with everything that a call of it needs, as one immutable value."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from clowdy.runtimes.api import Application, Code, Handler, Limits
from clowdy.schema.manifest import FunctionSpec, Manifest
from clowdy.schema.release import FunctionVersion, ReleaseRecord
from clowdy.server.errors import Invalid
from clowdy.server.store.projects import Project

NO_VALUE = "secret "
"""How the problem of a function begins that needs a secret without a value."""

NOT_INSTALLED = " were not installed for this Python"
"""How the problem of a function ends whose requirements were not there for the Python that there was, if any."""


@dataclass(frozen=True, slots=True)
class Serving:
    """One release, ready to be served.

    `applications` has the functions that can start; `problems` says of the others why not, for their author.
    `tag` is the object id of `deploy/N`, `changes` the project's count in `Context.changes` when it was loaded.
    """

    project: Project
    record: ReleaseRecord
    tag: str
    manifest: Manifest
    applications: Mapping[str, Application]
    problems: Mapping[str, str] = field(default_factory=dict)
    changes: int = 0

    def require_secrets(self) -> None:
        """Raises Invalid when a function needs a secret that has no value."""
        missing = next((text for text in self.problems.values() if text.startswith(NO_VALUE)), None)
        if missing is not None:
            raise Invalid(missing)

    @property
    def lacks_requirements(self) -> bool:
        """Whether it was loaded without what it needs installed, which may be there since."""
        return any(text.endswith(NOT_INSTALLED) for text in self.problems.values())

    @property
    def number(self) -> int:
        """The N of `deploy/N`."""
        return self.record.number


def fingerprint(values: Mapping[str, str]) -> str:
    """Changes when one of the secret values does; says nothing about them."""
    digest = hashlib.sha256()
    for name, value in sorted(values.items()):
        digest.update(hashlib.sha256(f"{name}\0{value}".encode()).digest())
    return digest.hexdigest()[:16]


def build_application(
    project: Project,
    function: FunctionSpec,
    version: FunctionVersion,
    code: Code,
    secrets: Mapping[str, str],
    layer: str | None = None,
) -> Application:
    """The application of one function version; raises KeyError naming a secret that has no value."""
    values = {name: secrets[name] for name in sorted(function.secrets)}
    environment = {
        **function.env,
        **values,
        "CLOWDY_PROJECT": project.name,
        "CLOWDY_FUNCTION": function.name,
        "CLOWDY_VERSION": str(version.number),
    }
    return Application(
        key=f"{version.function_id}:{version.digest}:{project.name}:{fingerprint(values)}",
        project=project.name,
        project_id=project.id,
        function=function.name,
        function_id=version.function_id,
        version=version.number,
        code=code,
        handler=Handler(function.file, function.attribute),
        sources=function.sources,
        type=function.type,
        network=function.network,
        limits=Limits(memory_bytes=function.memory_bytes, cpu=function.cpu),
        timeout_seconds=function.timeout_seconds,
        concurrency=function.concurrency,
        parallel=function.parallel,
        min_warm=function.min_warm,
        layer=layer,
        env=environment,
    )
