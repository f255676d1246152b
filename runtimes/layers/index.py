"""Where packages come from: index, proxy and CA settings of the server, as uv is told them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit
from urllib.request import url2pathname

_UV_DEFAULT = "the public package index"
"""What uv asks when it is told of no other index."""

_FALSE = frozenset({"", "0", "false", "no", "off"})
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s?#@]*@")
_NAMED = re.compile(r"[A-Za-z0-9._-]+=(?=[a-z][a-z0-9+.-]*:)")
_NAMED_CREDENTIALS = re.compile(r"UV_INDEX_[A-Z0-9_]+_(USERNAME|PASSWORD)")
_HIDDEN = "****"


class Certificates(NamedTuple):
    """Paths of those that a server is checked with, in a file and a folder, and of the client's own."""

    file: str | None = None
    folder: str | None = None
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """`default` and `extra` are indexes, the extra ones asked first; `find_links` pages or folders of files.

    URLs may have credentials, so that they are left out of its `repr`; `asked` has them without.
    """

    default: str | None = field(default=None, repr=False)
    extra: tuple[str, ...] = field(default=(), repr=False)
    find_links: tuple[str, ...] = field(default=(), repr=False)
    no_index: bool = False
    strategy: str | None = None
    insecure_hosts: tuple[str, ...] = ()
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    certificates: str | None = None
    certificate_folder: str | None = None
    client_certificate: str | None = None
    system_certificates: bool = False

    @property
    def urls(self) -> tuple[str, ...]:
        """Every index and page, without the name that uv lets one have."""
        indexes = () if self.no_index else (*((self.default,) if self.default else ()), *self.extra)
        return (*(_NAMED.sub("", each, count=1) for each in indexes), *self.find_links)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of this machine that hold packages."""
        return tuple(path for url in self.urls if (path := _folder(url)) is not None)

    @property
    def needs_network(self) -> bool:
        """False where every package lies in a folder."""
        asks_default = self.default is None and not self.no_index
        return asks_default or any(_folder(url) is None for url in self.urls)

    @property
    def hosts(self) -> tuple[tuple[str, int], ...]:
        """Host and port of all that is reached over the network, proxies among them."""
        proxies = (url for name, url in self.proxies.items() if name != "NO_PROXY")
        found = []
        for url in (*self.urls, *proxies):
            parts = _split(url if "://" in url else f"http://{url}")
            if parts.scheme != "file" and parts.hostname and _folder(url) is None:
                found.append((parts.hostname, parts.port or (80 if parts.scheme == "http" else 443)))
        return tuple(dict.fromkeys(found))

    @property
    def asked(self) -> tuple[str, ...]:
        """What is asked over the network, each once and without credentials."""
        implicit = () if self.no_index or self.default is not None else (_UV_DEFAULT,)
        return tuple(dict.fromkeys(self.hide(url) for url in (*implicit, *self.urls) if _folder(url) is None))

    @property
    def digest(self) -> str:
        """64 hex digits of where packages come from, credentials left out: they change while the packages stay."""
        content = [[_bare(each) for each in self.urls], self.default is None, self.no_index, self.strategy]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def hide(self, text: str) -> str:
        """`text` without any credentials of these settings."""
        text = _CREDENTIALS.sub(f"{_HIDDEN}@", text)
        for secret in self._secrets():
            text = text.replace(secret, _HIDDEN)
        return text

    def _secrets(self) -> list[str]:
        found = {value for name, value in self.credentials.items() if name.endswith("_PASSWORD")}
        for url in (*self.urls, *self.proxies.values()):
            parts = _split(url)
            found |= {part for part in (parts.password, parts.username if parts.password is None else None) if part}
        found |= {unquote(each) for each in found}
        # Shorter ones would tear words apart, and stand nowhere but in a URL.
        return sorted((each for each in found if len(each) >= 4), key=len, reverse=True)

    def environment(self, certificates: Certificates) -> dict[str, str]:
        """How uv is told; it finds there the `certificates` that the settings name."""
        told = {
            "UV_DEFAULT_INDEX": self.default or "",
            "UV_INDEX": " ".join(self.extra),
            "UV_FIND_LINKS": ",".join(self.find_links),
            "UV_INDEX_STRATEGY": self.strategy or "",
            "UV_INSECURE_HOST": " ".join(self.insecure_hosts),
            "UV_SYSTEM_CERTS": "1" if self.system_certificates else "",
            "SSL_CERT_FILE": certificates.file or "",
            "SSL_CERT_DIR": certificates.folder or "",
            "SSL_CLIENT_CERT": certificates.client or "",
            **self.proxies,
            **self.credentials,
        }
        return {name: value for name, value in told.items() if value}


def read_index(environ: Mapping[str, str], pip: Mapping[str, str]) -> Index:
    """The settings in uv's environment variables, for what they leave open those of pip (`read_pip_settings`)."""

    def first(*names: str) -> str:
        return next((environ[name] for name in names if environ.get(name)), "")

    default = first("UV_DEFAULT_INDEX", "UV_INDEX_URL") or pip.get("index-url", "")
    named = first("UV_INDEX").split() + first("UV_EXTRA_INDEX_URL").split()
    links = [each.strip() for each in first("UV_FIND_LINKS").split(",")]
    proxies = {name: value for name in _PROXIES if (value := first(name, name.lower()))}
    if proxy := pip.get("proxy"):
        url = proxy if "://" in proxy else f"http://{proxy}"
        proxies = {"HTTP_PROXY": url, "HTTPS_PROXY": url} | proxies
    extra = named or pip.get("extra-index-url", "").split()
    find_links = [each for each in links if each] or pip.get("find-links", "").split()
    return Index(
        default=default.strip() or None,
        extra=tuple(each for each in extra if _is_there(_NAMED.sub("", each, count=1))),
        find_links=tuple(each for each in find_links if _is_there(each)),
        no_index=_truth(environ.get("UV_NO_INDEX") or pip.get("no-index", "")),
        strategy=first("UV_INDEX_STRATEGY") or None,
        insecure_hosts=tuple((first("UV_INSECURE_HOST") or pip.get("trusted-host", "")).split()),
        proxies=proxies,
        credentials={name: value for name, value in environ.items() if _NAMED_CREDENTIALS.fullmatch(name)},
        certificates=first("SSL_CERT_FILE") or pip.get("cert") or first("REQUESTS_CA_BUNDLE") or None,
        certificate_folder=first("SSL_CERT_DIR") or None,
        client_certificate=first("SSL_CLIENT_CERT") or pip.get("client-cert") or None,
        system_certificates=_truth(first("UV_SYSTEM_CERTS", "UV_NATIVE_TLS")),
    )


def _split(url: str) -> SplitResult:
    """The parts of a URL; none of one that is none, which uv refuses in its own words."""
    try:
        parts = urlsplit(url)
        _ = parts.port
        return parts
    except ValueError:
        return urlsplit("")


def _truth(text: str) -> bool:
    return text.strip().lower() not in _FALSE


def _folder(url: str) -> Path | None:
    parts = _split(url)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(url) if url.startswith("/") else None


def _is_there(url: str) -> bool:
    """False for a folder that does not exist: pip passes over it, uv ends."""
    folder = _folder(url)
    return folder is None or folder.exists()


def _bare(url: str) -> str:
    parts = _split(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
