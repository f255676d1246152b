"""Whose a request is by its Host header, and who sent it, where proxies in front are believed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

RESERVED = frozenset({"www", "api"})
_KNOWN_AT_MOST = 4096


class Hosts:
    """Tells hosts of projects, `PROJECT.<base domain>`, from all others, which mean the pages."""

    def __init__(self, base_domain: str, public_host: str) -> None:
        self._ending = "." + base_domain.lower().strip(".")
        self._public = public_host.lower().rstrip(".")
        self._known: dict[str, str | None] = {}

    def project(self, host: str) -> str | None:
        """The name of the project that a Host header means, or None for the pages."""
        try:
            return self._known[host]
        except KeyError:
            if len(self._known) >= _KNOWN_AT_MOST:
                self._known.clear()
            found = self._known[host] = self._project(host)
            return found

    def _project(self, host: str) -> str | None:
        name = host.strip().lower().partition(":")[0].rstrip(".")
        if name == self._public or not name.endswith(self._ending):
            return None
        label = name.removesuffix(self._ending)
        if not label or "." in label or label in RESERVED:
            return None
        return label


class Proxies:
    """Believes `X-Forwarded-For`, `-Proto` and `-Host` from the configured networks, and from nobody else."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)

    def trusts(self, address: str | None) -> bool:
        """Whether a peer is one of the proxies in front."""
        if not self._networks or not address:
            return False
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._networks)

    def client(self, peer: str | None, headers: Mapping[str, str]) -> str | None:
        """The address of whoever sent the request: the last one that no trusted proxy vouches for as another."""
        if not self.trusts(peer):
            return peer
        client = peer
        for hop in reversed([part.strip() for part in ",".join(_every(headers, "X-Forwarded-For")).split(",")]):
            address = _address(hop)
            if address is None:
                break
            client = address
            if not self.trusts(address):
                break
        return client

    def host(self, peer: str | None, headers: Mapping[str, str], default: str) -> str:
        """The host that the client asked for."""
        return self._forwarded(peer, headers, "X-Forwarded-Host") or default

    def scheme(self, peer: str | None, headers: Mapping[str, str], default: str) -> str:
        """`http` or `https`, as the client used it."""
        scheme = self._forwarded(peer, headers, "X-Forwarded-Proto").lower()
        return scheme if scheme in {"http", "https"} else default

    def _forwarded(self, peer: str | None, headers: Mapping[str, str], name: str) -> str:
        if name not in headers or not self.trusts(peer):
            return ""
        # The nearest proxy wrote the last one.
        return _every(headers, name)[-1].rpartition(",")[2].strip()


def _every(headers: Mapping[str, str], name: str) -> list[str]:
    getall = getattr(headers, "getall", None)
    if getall is not None:
        return list(getall(name, ()))
    return [headers[name]] if name in headers else []


def _address(hop: str) -> str | None:
    """An address of X-Forwarded-For, which some proxies write with its port."""
    text = hop
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
