"""Environment variables of a manifest: the project's, and over them a function's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from clowdy.schema.environment import check_environment_name, check_environment_size, check_environment_value
from clowdy.schema.marks import Path
from clowdy.schema.reading import Reading
from clowdy.schema.rejection import Rejection


@dataclass(frozen=True, slots=True)
class Variables:
    """Values that stand in git, and names whose values are secrets. No name is in both."""

    values: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    secrets: frozenset[str] = frozenset()

    def over(self, base: Variables) -> Variables:
        """Both, these winning."""
        if not self.values and not self.secrets:
            return base
        values = {name: value for name, value in base.values.items() if name not in self.secrets}
        return Variables(
            MappingProxyType(values | dict(self.values)), self.secrets | base.secrets.difference(self.values)
        )


def read_variables(reading: Reading, path: Path) -> Variables:
    """The `env` at `path`; what is wrong in it is left out and noted."""
    values: dict[str, str] = {}
    secrets: set[str] = set()
    node = reading.marks.node(path)
    entries = getattr(node, "entries", {}) if reading.is_sound(path) else {}
    for name in entries:
        place = (*path, name)
        try:
            check_environment_name(name)
        except Rejection as rejection:
            reading.add(reading.marks.problem(place, rejection.code, rejection.message, rejection.hint, key=True))
            continue
        if not reading.is_sound(place) or not reading.is_sound((*place, "secret")):
            continue
        value = reading.marks.text(place)
        if value is None:
            secrets.add(name)
            continue
        try:
            check_environment_value(name, value)
        except Rejection as rejection:
            reading.reject(place, rejection)
        else:
            values[name] = value
    variables = Variables(MappingProxyType(values), frozenset(secrets))
    check_size(reading, path, variables)
    return variables


def check_size(reading: Reading, path: Path, variables: Variables) -> None:
    """Notes where the values of one function, with those of its project, are too large together."""
    try:
        check_environment_size(variables.values)
    except Rejection as rejection:
        reading.reject(path, rejection, key=True)
