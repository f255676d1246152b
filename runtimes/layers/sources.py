"""Whether a build can use what the settings of its index name, and what of it only they allow."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections.abc import Callable
from pathlib import Path

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.layers.index import Index

_RESOLVE_SECONDS = 10
_SYSTEM_CERTIFICATES = "/etc/ssl/certs"


def check_certificates(index: Index) -> None:
    """Raises DriverUnavailable for a certificate file that cannot be read."""
    for file in (index.certificates, index.client_certificate):
        if file is not None and not os.access(file, os.R_OK):
            raise DriverUnavailable(
                f"{file}, with which the package index is to be reached, cannot be read. "
                "Cure: set SSL_CERT_FILE, or `cert` of pip, to one that is there"
            )


def certificate_folders(index: Index) -> list[Path]:
    """The folders with certificates that are there."""
    found = {index.certificate_folder, _SYSTEM_CERTIFICATES if index.system_certificates else None}
    return sorted(Path(each) for each in found if each is not None and Path(each).is_dir())


def check_folders(index: Index, readable: Callable[[Path], bool]) -> None:
    """Raises DriverUnavailable for a folder of packages that is not `readable` to the users of builds."""
    for folder in index.folders:
        if not readable(folder):
            raise DriverUnavailable(
                f"{folder}, where packages are to be found, cannot be read by the users of builds. "
                "Cure: chmod o+rx for it and the folders above, or another place"
            )


def holders(index: Index) -> list[Path]:
    """The folders to show for those of packages: pages of `simple/` link to files beside it."""
    return sorted(
        {
            folder.parent if folder.name == "simple" and folder.parent != folder.parent.parent else folder
            for folder in index.folders
        }
    )


async def private_addresses(index: Index) -> tuple[str, ...]:
    """The addresses of index and proxy that a build could not reach otherwise.

    Raises DriverUnavailable for this machine's loopback.
    """
    loop = asyncio.get_running_loop()
    found: set[str] = set()
    for host, port in index.hosts:
        try:
            answers = await asyncio.wait_for(loop.getaddrinfo(host, port, type=socket.SOCK_STREAM), _RESOLVE_SECONDS)
        except (OSError, TimeoutError):
            # uv meets the same, and says it with the URL.
            continue
        for answer in answers:
            address = ipaddress.ip_address(str(answer[4][0]).partition("%")[0])
            if address.is_loopback or address.is_unspecified:
                raise DriverUnavailable(
                    f"the package index or proxy {host} is this machine's loopback, which an isolated build cannot "
                    "reach. Cure: give it another address, or let the settings name a folder (file://…)"
                )
            # Never what answers for the machine itself, whatever a name server says.
            if not address.is_global and not address.is_link_local:
                found.add(str(address))
    return tuple(sorted(found))
