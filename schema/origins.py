"""Origins of web pages, as browsers send them."""

from __future__ import annotations

import ipaddress
import re
import socket

from clowdy.schema.rejection import Rejection
from clowdy.schema.text import quoted

_CODE = "bad-value"
_LONGEST = 300
_LONGEST_HOST, _LONGEST_LABEL = 253, 63
_DEFAULT_PORTS = {"http": 80, "https": 443}
_EXAMPLES = "https://shop.example or http://localhost:3000"

# What follows the port is no part of an origin.
_address = re.compile(r"(https?)://(\[[^]]*\]|[^/?#@:\\\[\]]+)(?::([0-9]*))?(?:[/?#].*)?", re.IGNORECASE | re.DOTALL)
_label = re.compile(r"[a-z0-9-]+")
# Python's codec writes these as others than browsers do: as another host.
_deviating = re.compile("[ßς\u200c\u200d]", re.IGNORECASE)
_number = re.compile(r"[0-9]+|0x[0-9a-f]*")


def check_origin(text: str) -> str:
    """The origin; raises Rejection where no browser sends one in these letters, naming those that it sends."""
    if text == "*":
        raise Rejection(_CODE, '"*" is not an origin', "for any origin write cors: true")
    sent = as_sent(text)
    if sent == text:
        return text
    if sent is not None:
        raise Rejection(_CODE, f"no browser sends the origin {quoted(text)}", f"did you mean {quoted(sent)}?")
    scheme = "http" if text.startswith("localhost") else "https"
    guessed = as_sent(f"{scheme}://{text}") if "://" not in text and ("." in text or scheme == "http") else None
    hint = f"write it as in {_EXAMPLES}" if guessed is None else f"did you mean {quoted(guessed)}?"
    raise Rejection(_CODE, f"{quoted(text)} is not an origin", hint)


def as_sent(address: str) -> str | None:
    """The origin that a browser sends for a page at `address`, or None where there can be no such page."""
    found = _address.fullmatch(address) if len(address) <= _LONGEST else None
    if found is None:
        return None
    scheme = found[1].lower()
    host = _host(found[2])
    port = int(found[3]) if found[3] else _DEFAULT_PORTS[scheme]
    if host is None or not 0 < port < 1 << 16:
        return None
    return f"{scheme}://{host}" if port == _DEFAULT_PORTS[scheme] else f"{scheme}://{host}:{port}"


def _host(text: str) -> str | None:
    """A host as browsers write it: names in lower case and punycode, addresses in their shortest form."""
    if text.startswith("["):
        return _address_6(text[1:-1])
    if _deviating.search(text):
        return None
    try:
        host = text.lower() if text.isascii() else text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return None
    labels = host.removesuffix(".").split(".")
    if len(host) > _LONGEST_HOST or not all(_label.fullmatch(each) and len(each) <= _LONGEST_LABEL for each in labels):
        return None
    if _number.fullmatch(labels[-1]):
        # What ends in a number is an address, as for the C library: `127.1` is 127.0.0.1.
        try:
            return socket.inet_ntoa(socket.inet_aton(".".join(labels)))
        except OSError:
            return None
    return host


def _address_6(text: str) -> str | None:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return None
    if address.scope_id is not None:
        return None
    mapped = address.ipv4_mapped
    if mapped is None:
        return f"[{address}]"
    # Which Python writes in one way or another, by its version.
    return f"[::ffff:{int(mapped) >> 16:x}:{int(mapped) & 0xFFFF:x}]"
