"""Addresses of servers and of the projects on them, in one spelling."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote, urlsplit

from clowdy.schema import names

DEFAULT = "http://127.0.0.1:8000"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ProjectAddress:
    """A project as a git remote names it. `password` is what stands in the URL itself, or None."""

    server: str
    project: str
    password: str | None = None

    def __repr__(self) -> str:
        return f"ProjectAddress({self.git_url!r})"

    @property
    def git_url(self) -> str:
        """The URL that git is given, without a password."""
        return f"{self.server}/git/{self.project}.git"


def normal(url: str) -> str:
    """The address of a server in the spelling under which its token is kept; raises ValueError saying what is wrong.

    Without a scheme it is http for this machine and https for any other.
    """
    text = url.strip()
    if "://" not in text:
        host = urlsplit(f"//{text}").hostname or ""
        text = f"{'http' if is_loopback(host) else 'https'}://{text}"
    parts = _split(text)
    if parts.username or parts.password:
        raise ValueError("an address has no user and password: the token is asked for")
    if parts.query or parts.fragment:
        raise ValueError("an address ends after its path")
    return _server(parts, parts.path.rstrip("/"))


def project_address(url: str) -> ProjectAddress | None:
    """The project that a remote's URL names, or None when it is not one of a Clowdy server."""
    try:
        parts = _split(url)
    except ValueError:
        return None
    path = parts.path.rstrip("/").removesuffix(".git")
    prefix, marker, project = path.rpartition("/git/")
    if not marker or not names.is_project(project) or parts.query or parts.fragment:
        return None
    password = unquote(parts.password) if parts.password else None
    return ProjectAddress(_server(parts, prefix), project, password)


def renamed(url: str, project: str) -> str | None:
    """`url`, which may have user and password in it, with another project; None when it is not a project's."""
    if project_address(url) is None:
        return None
    base, marker, _ = url.rpartition("/git/")
    return f"{base}{marker}{project}.git"


def without_password(url: str) -> str:
    """`url` fit to be shown: what stands before an `@` is left out."""
    scheme, marker, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{marker}{authority.rpartition('@')[2]}{slash}{path}" if marker else url


def is_loopback(host: str) -> bool:
    """Whether `host` can only mean this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def segment(text: str) -> str:
    """`text` as one segment of a URL's path."""
    return quote(text, safe="")


def _split(text: str) -> SplitResult:
    parts = urlsplit(text)
    _ = parts.port  # Raises for what is no port.
    if parts.scheme not in _PORTS:
        raise ValueError(f"{without_password(text)!r} is not an http or https address")
    if not parts.hostname or any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError(f"{without_password(text)!r} has no host")
    return parts


def _server(parts: SplitResult, prefix: str) -> str:
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    port = parts.port
    suffix = "" if port is None or port == _PORTS[parts.scheme] else f":{port}"
    return f"{parts.scheme}://{shown}{suffix}{prefix}"
