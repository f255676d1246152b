"""Where people find the server and its projects."""

from __future__ import annotations

import socket
from collections.abc import Callable
from urllib.parse import urlsplit

from clowdy.server.config import Config
from clowdy.server.doctor.finding import Finding, State


def base_domain(config: Config, resolve: Callable[[str], bool] | None = None) -> Finding:
    """Whether the host names of projects lead somewhere."""
    domain = config.base_domain
    found = f"PROJECT.{domain}"
    if domain == "localhost" or domain.endswith(".localhost"):
        return Finding("base domain", State.OK, f"{found} (browsers know it; other programs may need a Host header)")
    if (resolve or _resolves)(f"clowdy-doctor.{domain}"):
        return Finding("base domain", State.OK, found)
    cure = f"add a DNS record *.{domain} that points here"
    return Finding("base domain", State.WARNING, f"{found} does not resolve", cure)


def public_url(config: Config) -> Finding:
    """Whether tokens travel encrypted."""
    host = urlsplit(config.public_url).hostname or ""
    is_local = host in {"localhost", "::1"} or host.startswith("127.") or host.endswith(".localhost")
    if config.public_url.startswith("https:") or is_local:
        return Finding("public URL", State.OK, config.public_url)
    cure = "put a proxy that speaks https in front, and say so with --public-url and --trust-proxy"
    return Finding("public URL", State.WARNING, f"{config.public_url} sends tokens unencrypted", cure)


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except (OSError, UnicodeError):
        return False
    return True
