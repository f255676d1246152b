"""What a network namespace reaches and who reaches it, as one message for the kernel's nf_tables. Pure.

It says what `sandbox.reach.nft_rules` says, in the words that `nft` itself would send: where the rules are set, inside
of any image, there is no such program. Version 4 of IP alone is let out besides; containers have no other.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from clowdy.runtimes.sandbox.reach import Network, Reach

TABLE = "clowdy"

# Of <linux/netlink.h>, <linux/netfilter/nfnetlink.h> and <linux/netfilter/nf_tables.h>.
_REQUEST, _ACKNOWLEDGE, _CREATE = 0x1, 0x4, 0x400
_NESTED = 0x8000
_BEGIN, _END, _SUBSYSTEM = 16, 17, 10
_NEW_TABLE, _DELETE_TABLE, _NEW_CHAIN, _NEW_RULE, _NEW_SET, _NEW_ELEMENTS = 0, 2, 3, 6, 9, 12
_INET, _APPEND = 1, 0x800
_INPUT, _FORWARD, _OUTPUT = 1, 2, 3
_DROP, _ACCEPT = 0, 1
_INTERVALS, _INTERVAL_ENDS = 4, 1
_KEY_TYPES = {4: 7, 6: 8}
_FAMILIES = {4: 2, 6: 10}
# Where the destination stands in the header of each version, and how long it is.
_DESTINATION = {4: (16, 4), 6: (24, 16)}
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_NAME_BYTES = 16
_IN_NAME, _OUT_NAME, _FAMILY, _PROTOCOL = 6, 7, 15, 16
_EQUAL, _UNEQUAL = 0, 1
_ESTABLISHED_OR_RELATED = 0x2 | 0x4
_TCP_RESET, _UNREACHABLE, _PROHIBITED = 1, 2, 3
# An attribute has 65,535 bytes.
_ELEMENTS_AT_ONCE = 500

Attribute = bytes


def rules_message(reach: Reach, resolvers: Sequence[str]) -> bytes:
    """Replaces the rules of before in one step: port 53 of `resolvers` and what `reach` says; nobody comes in.

    Its last part but one asks for an acknowledgement.
    """
    parts = [
        _part(_NEW_TABLE, _text(1, TABLE)),
        _part(_DELETE_TABLE, _text(1, TABLE)),
        _part(_NEW_TABLE, _text(1, TABLE)),
    ]
    for number, (name, version, networks) in enumerate(_sets(reach), 1):
        parts += _set(number, name, version, networks)
    parts += [
        _chain("input", _INPUT, _DROP),
        _rule("input", *_device(_IN_NAME), _verdict(_ACCEPT)),
        _rule("input", *_established(), _verdict(_ACCEPT)),
        # What leaves through loopback and comes back must not be passed on.
        _chain("forward", _FORWARD, _DROP),
        _chain("output", _OUTPUT, _ACCEPT),
        _rule("output", *_device(_OUT_NAME), _verdict(_ACCEPT)),
    ]
    for resolver in resolvers:
        for protocol in (socket.IPPROTO_UDP, socket.IPPROTO_TCP):
            parts.append(_rule("output", *_resolver(resolver, protocol), _verdict(_ACCEPT)))
    refused_6 = _among("refused6", 6)
    parts += [
        *(_rule("output", *_among(f"allowed{version}", version), _verdict(_ACCEPT)) for version in (4, 6)),
        # A connection by IPv6 takes no notice of the other answer before its second try, a second later.
        _rule("output", *refused_6, *_protocol(socket.IPPROTO_TCP), _expression("reject", _number(1, _TCP_RESET))),
        *(_rule("output", *_among(f"refused{version}", version), _prohibit()) for version in (4, 6)),
    ]
    return _batch(parts)


def _sets(reach: Reach) -> Iterable[tuple[str, int, list[Network]]]:
    for version in (4, 6):
        for name, networks in (("allowed", reach.allowed), ("refused", reach.refused)):
            yield f"{name}{version}", version, [each for each in networks if each.version == version]


def _batch(parts: Sequence[tuple[int, int, bytes]]) -> bytes:
    whole = [_message(_BEGIN, _REQUEST, 0, struct.pack(">BBH", 0, 0, _SUBSYSTEM))]
    for sequence, (kind, flags, payload) in enumerate(parts, 1):
        last = _ACKNOWLEDGE if sequence == len(parts) else 0
        header = struct.pack(">BBH", _INET, 0, 0)
        whole.append(_message(_SUBSYSTEM << 8 | kind, _REQUEST | flags | last, sequence, header + payload))
    whole.append(_message(_END, _REQUEST, len(parts) + 1, struct.pack(">BBH", 0, 0, _SUBSYSTEM)))
    return b"".join(whole)


def _message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(payload), kind, flags, sequence, 0) + payload


def _part(kind: int, *attributes: Attribute) -> tuple[int, int, bytes]:
    flags = 0 if kind == _DELETE_TABLE else _CREATE | (_APPEND if kind == _NEW_RULE else 0)
    return kind, flags, b"".join(attributes)


def _chain(name: str, hook: int, policy: int) -> tuple[int, int, bytes]:
    place = _nested(4, _number(1, hook), _number(2, 0))
    return _part(_NEW_CHAIN, _text(1, TABLE), _text(3, name), place, _number(5, policy), _text(7, "filter"))


def _rule(chain: str, *expressions: Attribute) -> tuple[int, int, bytes]:
    return _part(_NEW_RULE, _text(1, TABLE), _text(2, chain), _nested(4, *expressions))


def _set(number: int, name: str, version: int, networks: Iterable[Network]) -> list[tuple[int, int, bytes]]:
    size = _DESTINATION[version][1]
    key = (_number(4, _KEY_TYPES[version]), _number(5, size))
    parts = [_part(_NEW_SET, _text(1, TABLE), _text(2, name), _number(3, _INTERVALS), *key, _number(10, number))]
    elements = _elements(networks, size)
    for start in range(0, len(elements), _ELEMENTS_AT_ONCE):
        some = _nested(3, *elements[start : start + _ELEMENTS_AT_ONCE])
        parts.append(_part(_NEW_ELEMENTS, _text(1, TABLE), _text(2, name), _number(4, number), some))
    return parts


def _elements(networks: Iterable[Network], size: int) -> list[Attribute]:
    """The first address of each interval, and the first one after it: networks that touch make one interval."""
    merged: list[tuple[int, int]] = []
    for first, after in sorted((int(each.network_address), int(each.broadcast_address) + 1) for each in networks):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(after, merged[-1][1]))
        else:
            merged.append((first, after))
    found: list[Attribute] = []
    if merged and merged[0][0] != 0:
        found.append(_element(0, size, end=True))
    for first, after in merged:
        found.append(_element(first, size))
        if after < 1 << (8 * size):
            found.append(_element(after, size, end=True))
    return found


def _element(address: int, size: int, *, end: bool = False) -> Attribute:
    flags = (_number(3, _INTERVAL_ENDS),) if end else ()
    return _nested(1, _nested(1, _attribute(1, address.to_bytes(size, "big"))), *flags)


def _device(which: int) -> tuple[Attribute, ...]:
    return _meta(which, b"lo".ljust(_NAME_BYTES, b"\0"))


def _protocol(number: int) -> tuple[Attribute, ...]:
    return _meta(_PROTOCOL, bytes([number]))


def _version(version: int) -> tuple[Attribute, ...]:
    return _meta(_FAMILY, bytes([_FAMILIES[version]]))


def _among(name: str, version: int) -> tuple[Attribute, ...]:
    lookup = _expression("lookup", _text(1, name), _number(2, 1))
    return (*_version(version), _payload(_NETWORK_HEADER, *_DESTINATION[version]), lookup)


def _resolver(address: str, protocol: int) -> tuple[Attribute, ...]:
    resolver = ip_address(address)
    return (
        *_version(resolver.version),
        *(_payload(_NETWORK_HEADER, *_DESTINATION[resolver.version]), _compare(resolver.packed)),
        *_protocol(protocol),
        *(_payload(_TRANSPORT_HEADER, 2, 2), _compare(struct.pack(">H", 53))),
    )


def _established() -> tuple[Attribute, ...]:
    mask = _nested(4, _attribute(1, struct.pack("=I", _ESTABLISHED_OR_RELATED)))
    masked = _expression(
        "bitwise", _number(1, 1), _number(2, 1), _number(3, 4), mask, _nested(5, _attribute(1, bytes(4)))
    )
    return _expression("ct", _number(1, 1), _number(2, 0)), masked, _compare(bytes(4), _UNEQUAL)


def _meta(key: int, value: bytes) -> tuple[Attribute, ...]:
    return _expression("meta", _number(2, key), _number(1, 1)), _compare(value)


def _payload(header: int, offset: int, size: int) -> Attribute:
    return _expression("payload", _number(1, 1), _number(2, header), _number(3, offset), _number(4, size))


def _compare(value: bytes, how: int = _EQUAL) -> Attribute:
    return _expression("cmp", _number(1, 1), _number(2, how), _nested(3, _attribute(1, value)))


def _verdict(verdict: int) -> Attribute:
    return _expression("immediate", _number(1, 0), _nested(2, _nested(2, _number(1, verdict))))


def _prohibit() -> Attribute:
    return _expression("reject", _number(1, _UNREACHABLE), _attribute(2, bytes([_PROHIBITED])))


def _expression(name: str, *attributes: Attribute) -> Attribute:
    return _nested(1, _text(1, name), _nested(2, *attributes))


def _text(kind: int, value: str) -> Attribute:
    return _attribute(kind, value.encode() + b"\0")


def _number(kind: int, value: int) -> Attribute:
    return _attribute(kind, struct.pack(">I", value))


def _nested(kind: int, *attributes: Attribute) -> Attribute:
    return _attribute(kind | _NESTED, b"".join(attributes))


def _attribute(kind: int, value: bytes) -> Attribute:
    size = 4 + len(value)
    return struct.pack("=HH", size, kind) + value + bytes(-size % 4)
