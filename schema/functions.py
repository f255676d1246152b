"""The functions of a manifest, from checked values to `FunctionSpec`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from clowdy.schema.cron import check_cron
from clowdy.schema.manifest import FunctionSpec, HandlerType, Network
from clowdy.schema.marks import Path
from clowdy.schema.paths import HandlerPath, check_handler, check_path, default_handler
from clowdy.schema.reading import Reading
from clowdy.schema.rejection import Rejection
from clowdy.schema.units import parse_duration, parse_size
from clowdy.schema.variables import Variables, check_size, read_variables

_DEFAULTS = FunctionSpec(name="", file="")


def read_function(reading: Reading, name: str, project: Variables, private: Collection[str]) -> FunctionSpec | None:
    """One function with defaults for what is wrong and noted, or None where it is not known what its code is.

    `private` are the functions of which a route asks for authentication.
    """
    path: Path = ("functions", name)
    settings = reading.data["functions"][name]
    if not isinstance(settings, dict):
        return None
    field = _Fields(reading, path, settings)
    handler, sources = _handler(field, name), _sources(field)
    variables = _variables(field, project)
    _check_network(field)
    concurrency = int(field("concurrency", _DEFAULTS.concurrency))
    min_warm = _min_warm(field, concurrency)
    schedules = _schedules(field)
    if handler is None or sources is None or not reading.is_sound(path):
        return None
    timeout = field("timeout", _DEFAULTS.timeout_seconds)
    memory = field("memory", None)
    return FunctionSpec(
        name=name,
        file=handler.file,
        attribute=handler.attribute,
        description=field("description", ""),
        type=HandlerType(field("type", HandlerType.AUTO)),
        sources=sources,
        network=Network(str(field("network", False)).lower()),
        timeout_seconds=parse_duration(timeout) if isinstance(timeout, str) else float(timeout),
        memory_bytes=_DEFAULTS.memory_bytes if memory is None else parse_size(memory),
        cpu=float(field("cpu", _DEFAULTS.cpu)),
        concurrency=concurrency,
        parallel=int(field("parallel", _DEFAULTS.parallel)),
        min_warm=min_warm,
        env=variables.values,
        secrets=variables.secrets,
        schedules=schedules,
        public=field("public", name not in private),
    )


class _Fields:
    """The settings of one function: the value of a key that is there and sound, else a default."""

    def __init__(self, reading: Reading, path: Path, settings: dict[str, Any]) -> None:
        self.reading = reading
        self.path = path
        self.settings = settings

    def __call__(self, key: str, default: Any) -> Any:
        return self.settings[key] if key in self.settings and self.reading.is_sound(self.at(key)) else default

    def at(self, key: str) -> Path:
        return (*self.path, key)

    def texts(self, key: str) -> list[tuple[Path, str]]:
        """The text, or each text of the list, at `key` with its path; those that are refused are left out."""
        value = self(key, None)
        if isinstance(value, str):
            return [(self.at(key), value)]
        items = [((*self.at(key), index), item) for index, item in enumerate(value or ())]
        return [(path, item) for path, item in items if self.reading.is_sound(path)]


def _handler(field: _Fields, name: str) -> HandlerPath | None:
    if "handler" not in field.settings:
        return default_handler(name)
    # The pattern of the schema is for editors: what is wrong with a handler is better told by who reads it.
    text = field("handler", None)
    if text is None:
        return None
    try:
        return check_handler(text)
    except Rejection as rejection:
        field.reading.reject(field.at("handler"), rejection)
        return None


def _sources(field: _Fields) -> tuple[str, ...] | None:
    if "source" not in field.settings:
        return _DEFAULTS.sources
    folders: list[str] = []
    texts = field.texts("source")
    for path, text in texts:
        try:
            folders.append(check_path(text, "source"))
        except Rejection as rejection:
            field.reading.reject(path, rejection)
    value = field("source", None)
    expected = len(value) if isinstance(value, list) else 1
    return tuple(dict.fromkeys(folders)) if len(folders) == expected else None


def _variables(field: _Fields, project: Variables) -> Variables:
    if "env" not in field.settings:
        return project
    own = read_variables(field.reading, field.at("env"))
    both = own.over(project)
    if field.reading.is_sound(field.at("env")) and field.reading.is_sound(("env",)):
        check_size(field.reading, field.at("env"), both)
    return both


def _check_network(field: _Fields) -> None:
    if field("network", None) == Network.DATABASE and "database" not in field.reading.data:
        field.reading.note(
            field.at("network"), "network-database", "network: database without a database",
            "write database: postgres at the top, or leave network out",
        )  # fmt: skip


def _min_warm(field: _Fields, concurrency: int) -> int:
    min_warm = int(field("min_warm", _DEFAULTS.min_warm))
    if min_warm <= concurrency or not field.reading.is_sound(field.at("concurrency")):
        return min_warm
    field.reading.refuse(
        field.at("min_warm"), "bad-value", f"min_warm is {min_warm}, above the function's concurrency of {concurrency}",
        "make it smaller, or concurrency larger",
    )  # fmt: skip
    return concurrency


def _schedules(field: _Fields) -> tuple[str, ...]:
    schedules: list[str] = []
    for path, text in field.texts("schedule"):
        try:
            schedules.append(check_cron(text))
        except Rejection as rejection:
            field.reading.reject(path, rejection)
    return tuple(dict.fromkeys(schedules))
