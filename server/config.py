"""The server's settings: options over the environment over a TOML file over defaults, as one frozen value."""

from __future__ import annotations

import base64
import binascii
import difflib
import ipaddress
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, Self
from urllib.parse import urlsplit

from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.schema.names import is_token
from clowdy.schema.units import GIBIBYTE, KIBIBYTE, MEBIBYTE
from clowdy.server.errors import ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_DATABASE = "clowdy.db"
_FILE = "clowdy.toml"
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,499}")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])i?b?|b)?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?")
_SIZE_UNITS = {"": 1, "k": KIBIBYTE, "m": MEBIBYTE, "g": GIBIBYTE, "t": 1024 * GIBIBYTE}
_DURATION_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class PushLimits:
    """The most that one push may bring; `code_*` are of one function."""

    pack_bytes: int = 256 * MEBIBYTE
    unpacked_bytes: int = 512 * MEBIBYTE
    files: int = 50_000
    depth: int = 100
    refs: int = 5_000
    code_bytes: int = 50 * MEBIBYTE
    code_files: int = 10_000


@dataclass(frozen=True, slots=True)
class Config:
    """How this server runs. Secrets are left out of its `repr`."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8000
    runtime: str = "auto"
    public_url: str = "http://127.0.0.1:8000"
    base_domain: str = "localhost"
    memory_budget_bytes: int = 2 * GIBIBYTE
    trust_proxy: tuple[Network, ...] = ()
    allow_private_networks: bool = False
    grace_seconds: float = 30.0
    standbys: int = 8
    idle_seconds: float = 300.0
    wait_seconds: float = 10.0
    waiters: int = 100
    connections: int = 1_000
    body_limit_bytes: int = 6 * MEBIBYTE
    keep_releases: int = 50
    keep_days: int = 30
    push: PushLimits = PushLimits()
    admin_token: str | None = field(default=None, repr=False)
    secret_key: bytes | None = field(default=None, repr=False)
    public_url_given: bool = False
    build: BuildLimits = field(default_factory=BuildLimits)
    docker_image: str | None = None

    @property
    def database(self) -> Path:
        """Where the store is."""
        return self.data_dir / _DATABASE

    @property
    def layers(self) -> Path:
        """Where installed requirements are."""
        return self.data_dir / "layers"

    @property
    def public_host(self) -> str:
        """The host name that always means the pages, in lower case."""
        return (urlsplit(self.public_url).hostname or "").lower()

    def project_url(self, name: str) -> str:
        """Where a project answers on the pages' host, without a slash at the end."""
        return f"{self.public_url}/api/gateway/{name}"

    @property
    def reserved_names(self) -> frozenset[str]:
        """What no project may be called, because the host name made of it means something else."""
        label, _, domain = self.public_host.partition(".")
        return frozenset({"www", "api"} | ({label} if domain == self.base_domain else set()))

    def bound_to(self, port: int) -> Config:
        """The same once the port is known that the server listens on, for `port` 0."""
        url = self.public_url if self.public_url_given else _default_url(self.host, port)
        return replace(self, port=port, public_url=url)

    @classmethod
    def load(cls, options: Mapping[str, object], environ: Mapping[str, str], toml: Path | str | None = None) -> Self:
        """The settings of this start. An option that is None or empty was not given.

        `toml` names a file that must exist; without it, `clowdy.toml` of the data directory is read if it is there.
        Raises ConfigError, which names the key, where it was found, and what to write.
        """
        given = {name: Found(value, f"--{name.replace('_', '-')}") for name, value in options.items() if _given(value)}
        from_environment = {
            name: Found(environ[variable], variable)
            for name in _SETTINGS
            if environ.get(variable := f"CLOWDY_{name.upper()}")
        }
        unknown = set(given) - set(_SETTINGS)
        if unknown:
            raise ConfigError(f"unknown option {min(unknown)}")
        above = from_environment | given
        found = _from_file(_file_path(above, toml), above, named=toml is not None) | above
        values = {name: setting.read(found[name]) for name, setting in _SETTINGS.items() if name in found}
        return cls(**_complete(values))


@dataclass(frozen=True, slots=True)
class Found:
    """A value and where it stood; `folder` is what a relative path in it is relative to."""

    value: object = field(repr=False)
    where: str
    folder: Path | None = None

    def wrong(self, name: str, expected: str, *, hidden: bool = False) -> NoReturn:
        """Says what is wrong with it."""
        value = " ".join(map(str, self.value)) if isinstance(self.value, tuple | list) else str(self.value)
        said = "" if hidden else f" says {value[:100]!r}"
        raise ConfigError(f"{name.replace('_', '-')}: {self.where}{said}: {expected}")


@dataclass(frozen=True, slots=True)
class _Setting:
    name: str
    parse: Callable[[str, Found], Any]
    environment_only: bool = False

    def read(self, found: Found) -> Any:
        return self.parse(self.name, found)


def parse_size(text: str) -> int | None:
    """The bytes that `512MB`, `2GB` or a bare number mean, units counting by 1024; None for anything else."""
    match = _SIZE.fullmatch(text.strip())
    return None if match is None else int(float(match[1]) * _SIZE_UNITS[(match[2] or "").lower()])


def parse_duration(text: str) -> float | None:
    """The seconds that `30`, `30s`, `500ms`, `2m` or `1h` mean; None for anything else."""
    match = _DURATION.fullmatch(text.strip())
    return None if match is None else float(match[1]) * _DURATION_UNITS[match[2] or ""]


def machine_memory_bytes(root: Path = Path("/")) -> int:
    """The memory that this machine has, or that the cgroup which holds everything lets it use."""
    total = 4 * GIBIBYTE
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            total = int(line.split()[1]) * KIBIBYTE
    for limit in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = (root / limit).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


def _given(value: object) -> bool:
    return value is not None and value != "" and value != ()


def _file_path(above: Mapping[str, Found], toml: Path | str | None) -> Path:
    if toml is not None:
        return Path(toml).expanduser().absolute()
    folder = above.get("data_dir")
    return (_path("data_dir", folder) if folder else _default_data_dir()) / _FILE


def _from_file(path: Path, above: Mapping[str, Found], *, named: bool) -> dict[str, Found]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named:
            raise ConfigError(f"config: there is no file {path}") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config: {path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"config: {path} is not TOML: {error}") from None
    found: dict[str, Found] = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        setting = _SETTINGS.get(name)
        if setting is None:
            near = difflib.get_close_matches(
                name, [known for known in _SETTINGS if not _SETTINGS[known].environment_only]
            )
            hint = f", did you mean {near[0].replace('_', '-')}?" if near else ""
            raise ConfigError(f"config: {path} has an unknown key {key}{hint}")
        if setting.environment_only:
            raise ConfigError(
                f"config: {path} has {key}, which is taken from the environment only: set CLOWDY_{name.upper()}"
            )
        if name == "data_dir" and not named:
            raise ConfigError(
                f"config: {path} has {key}, but lies in a data directory itself: use --data-dir or --config"
            )
        found[name] = Found(value, f"{key} in {path}", path.parent)
    return found


def _complete(values: dict[str, Any]) -> dict[str, Any]:
    values.setdefault("data_dir", _default_data_dir())
    values.setdefault("host", "127.0.0.1")
    values.setdefault("port", 8000)
    values["public_url_given"] = "public_url" in values
    values.setdefault("public_url", _default_url(values["host"], values["port"]))
    values["memory_budget_bytes"] = values.pop("memory_budget", None) or machine_memory_bytes() * 6 // 10
    values.setdefault("standbys", min(16, max(1, values["memory_budget_bytes"] // (256 * MEBIBYTE))))
    for setting, field_name in _RENAMED.items():
        if setting in values:
            values[field_name] = values.pop(setting)
    limits = {name: values.pop(f"push_{name}") for name in PushLimits.__slots__ if f"push_{name}" in values}
    build = {name: values.pop(f"build_{name}") for name in BuildLimits.__slots__ if f"build_{name}" in values}
    return values | {"push": PushLimits(**limits), "build": BuildLimits(**build)}


def _default_data_dir() -> Path:
    return Path(".clowdy").absolute()


def _default_url(host: str, port: int) -> str:
    # What means every address when it is listened on means none when it is called.
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"


def _path(_name: str, found: Found) -> Path:
    path = Path(str(found.value)).expanduser()
    return (found.folder or Path.cwd()) / path if not path.is_absolute() else path


def _host(name: str, found: Found) -> str:
    text = str(found.value).strip().removeprefix("[").removesuffix("]")
    if not re.fullmatch(r"[A-Za-z0-9.:_%-]+", text):
        found.wrong(name, "write an address or a host name, as 127.0.0.1 or 0.0.0.0")
    return text


def _runtime(name: str, found: Found) -> str:
    text = str(found.value)
    if text not in {"auto", "sandbox", "docker", "process"}:
        found.wrong(name, "write auto, sandbox, docker or process")
    return text


def _image(name: str, found: Found) -> str:
    text = str(found.value).strip()
    if not _IMAGE.fullmatch(text):
        found.wrong(name, "write the name of an image, as python:3.12-slim")
    return text


def _public_url(name: str, found: Found) -> str:
    text = str(found.value).rstrip("/")
    example = "write scheme, host and port alone, as https://clowdy.example"
    try:
        parts = urlsplit(text)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        found.wrong(name, example)
    if not valid or parts.path or parts.query or parts.fragment or "@" in parts.netloc or not text.isprintable():
        found.wrong(name, example)
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+|\[[0-9A-Fa-f:.]+\](:\d+)?", parts.netloc):
        found.wrong(name, example)
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _domain(name: str, found: Found) -> str:
    text = str(found.value).strip().lower().removesuffix(".")
    labels = text.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit() or len(text) > 200:
        found.wrong(name, "write a domain without scheme, port or *, as apps.example")
    return text


def _networks(name: str, found: Found) -> tuple[Network, ...]:
    given = found.value
    items = given if isinstance(given, Sequence) and not isinstance(given, str) else re.split(r"[\s,]+", str(given))
    networks = []
    for item in filter(None, (str(item).strip() for item in items)):
        try:
            networks.append(ipaddress.ip_network(item))
        except ValueError as error:
            found.wrong(name, f"{error}; write addresses or networks, as 127.0.0.1 or 10.0.0.0/8")
    return tuple(networks)


def _size(least: int) -> Callable[[str, Found], int]:
    def parse(name: str, found: Found) -> int:
        size = None if isinstance(found.value, bool) else parse_size(str(found.value))
        if size is None or size < least:
            found.wrong(name, f"write a size of at least {_size_text(least)}, as 512MB or 2GB")
        return size

    return parse


def _size_text(size: int) -> str:
    for unit, name in ((GIBIBYTE, "GB"), (MEBIBYTE, "MB"), (KIBIBYTE, "KB")):
        if size >= unit:
            return f"{size // unit}{name}"
    return f"{size} bytes"


def _flag(name: str, found: Found) -> bool:
    text = str(found.value).strip().lower()
    if text not in _FLAGS:
        found.wrong(name, "write true or false")
    return _FLAGS[text]


_FLAGS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def _seconds(name: str, found: Found) -> float:
    seconds = None if isinstance(found.value, bool) else parse_duration(str(found.value))
    if seconds is None:
        found.wrong(name, 'write seconds, or a duration as "30s" or "2m"')
    return seconds


def _number(least: int, most: int) -> Callable[[str, Found], int]:
    def parse(name: str, found: Found) -> int:
        text = "" if isinstance(found.value, bool) else str(found.value).strip()
        if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
            found.wrong(name, f"write a whole number from {least} to {most}")
        return int(text)

    return parse


def _admin_token(name: str, found: Found) -> str:
    text = str(found.value).rstrip("\r\n")
    if len(text) < 16 or text != text.strip() or not is_token(text):
        expected = "write 16 characters or more, without control characters and blanks around them"
        found.wrong(name, expected, hidden=True)
    return text


def _secret_key(name: str, found: Found) -> bytes:
    try:
        key = base64.b64decode(str(found.value).strip().replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != 32:
        found.wrong(name, "write 32 random bytes in base64: openssl rand -base64 32", hidden=True)
    return key


# Settings whose name on the command line is shorter than what the value is called.
_RENAMED = {"grace": "grace_seconds", "idle": "idle_seconds", "wait": "wait_seconds", "body_limit": "body_limit_bytes"}

_SETTINGS = {
    setting.name: setting
    for setting in (
        _Setting("data_dir", _path),
        _Setting("host", _host),
        _Setting("port", _number(0, 65_535)),
        _Setting("runtime", _runtime),
        _Setting("public_url", _public_url),
        _Setting("base_domain", _domain),
        _Setting("memory_budget", _size(64 * MEBIBYTE)),
        _Setting("trust_proxy", _networks),
        _Setting("docker_image", _image),
        _Setting("allow_private_networks", _flag),
        _Setting("grace", _seconds),
        _Setting("standbys", _number(0, 1_000)),
        _Setting("idle", _seconds),
        _Setting("wait", _seconds),
        _Setting("waiters", _number(0, 100_000)),
        _Setting("connections", _number(1, 1_000_000)),
        _Setting("body_limit", _size(1)),
        _Setting("keep_releases", _number(1, 1_000_000)),
        _Setting("keep_days", _number(0, 100_000)),
        _Setting("push_pack_bytes", _size(1)),
        _Setting("push_unpacked_bytes", _size(1)),
        _Setting("push_files", _number(1, 10_000_000)),
        _Setting("push_depth", _number(1, 10_000)),
        _Setting("push_refs", _number(1, 1_000_000)),
        _Setting("push_code_bytes", _size(1)),
        _Setting("push_code_files", _number(1, 1_000_000)),
        _Setting("build_seconds", _seconds),
        _Setting("build_stall_seconds", _seconds),
        _Setting("build_memory_bytes", _size(64 * MEBIBYTE)),
        _Setting("build_layer_bytes", _size(MEBIBYTE)),
        _Setting("build_layer_files", _number(1, 10_000_000)),
        _Setting("build_free_bytes", _size(0)),
        _Setting("build_at_once", _number(1, 100)),
        _Setting("admin_token", _admin_token, environment_only=True),
        _Setting("secret_key", _secret_key, environment_only=True),
    )
}
