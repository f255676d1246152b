"""What a network of its own may reach, as rules for nft or iptables. Pure.

The rules stand in the namespace itself: a route is no barrier for a socket that is bound to the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

Network = IPv4Network | IPv6Network

ADDRESS_4, GATEWAY_4, RESOLVER_4, PREFIX_4 = "192.0.0.2", "192.0.0.1", "192.0.0.3", 29
ADDRESS_6, GATEWAY_6, RESOLVER_6 = "fdc1:0d:1:d::2", "fdc1:0d:1:d::1", "fdc1:0d:1:d::3"
"""Of every namespace the same: nothing is ever sent to them but questions for the resolver."""

# This network, loopback, link-local with the metadata service, protocol assignments with these addresses of ours,
# Azure's metadata service, multicast, reserved with broadcast; Alibaba's metadata service lies in a private range.
_NEVER_4 = (
    *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "168.63.129.16/32"),
    *("224.0.0.0/4", "240.0.0.0/4", "100.100.100.200/32"),
)
_PRIVATE_4 = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15")
# Unspecified, loopback and what embeds IPv4 in the clear, link-local, multicast; the services of Amazon and Google
# lie in a private range, as do these addresses of ours.
_NEVER_6 = (
    *("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "fe80::/10", "ff00::/8"),
    *("fd00:ec2::/32", "fd20:ce::254/128", "fdc1:0d:1:d::/64"),
)
_PRIVATE_6 = ("fc00::/7", "fec0::/10", "64:ff9b:1::/48")
# A translator on the way makes an IPv4 address out of these: the prefix, and how many bits stand before the address.
_TRANSLATED = (("64:ff9b::", 96), ("2002::", 16))


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be reached besides public addresses: every private range, or single addresses and networks.

    `allowed` comes before everything else, the host's own addresses included.
    """

    allow_private: bool = False
    allowed: tuple[str, ...] = ()


PUBLIC_ONLY = Policy()


@dataclass(frozen=True, slots=True)
class Reach:
    """The addresses that a namespace reaches or does not; whatever is in neither it reaches."""

    allowed: tuple[Network, ...]
    refused: tuple[Network, ...]


def reach(policy: Policy, host: Iterable[str]) -> Reach:
    """What `policy` means on a host with these addresses and networks of its own."""
    refused = [*_NEVER_4, *_NEVER_6, *host]
    if not policy.allow_private:
        refused += [*_PRIVATE_4, *_PRIVATE_6]
    return Reach(_collapsed(policy.allowed), _collapsed(refused, translated=True))


def _collapsed(texts: Iterable[str], *, translated: bool = False) -> tuple[Network, ...]:
    networks = [ip_network(text, strict=False) for text in texts]
    fourth = list(collapse_addresses(each for each in networks if isinstance(each, IPv4Network)))
    sixth = [each for each in networks if isinstance(each, IPv6Network)]
    if translated:
        sixth += [through for each in fourth for through in _translations(each)]
    return (*fourth, *collapse_addresses(sixth))


def _translations(network: IPv4Network) -> list[IPv6Network]:
    found: list[IPv6Network] = []
    for prefix, bits in _TRANSLATED:
        start = int(ip_network(prefix).network_address) | int(network.network_address) << (128 - bits - 32)
        found.append(IPv6Network((start, bits + network.prefixlen)))
    return found


def nft_rules(reach: Reach) -> str:
    """The rules for `nft -f -`, which replace those of before in one step."""
    lines = ["add table inet clowdy", "delete table inet clowdy", "table inet clowdy {"]
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        for name, networks in (("allowed", reach.allowed), ("refused", reach.refused)):
            elements = ", ".join(str(each) for each in networks if each.version == version)
            content = f" elements = {{ {elements} }}" if elements else ""
            lines.append(f"set {name}{version} {{ type {kind}; flags interval; auto-merge;{content} }}")
    lines += [
        # What leaves through loopback and comes back must not be passed on.
        "chain forward { type filter hook forward priority 0; policy drop; }",
        "chain output { type filter hook output priority 0; policy accept;",
        'oifname "lo" accept',
        # Neighbours are found by multicast.
        "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept",
    ]
    for family, resolver in (("ip", RESOLVER_4), ("ip6", RESOLVER_6)):
        lines += [f"{family} daddr {resolver} {protocol} dport 53 accept" for protocol in ("udp", "tcp")]
    lines += ["ip daddr @allowed4 accept", "ip6 daddr @allowed6 accept"]
    # A connection by IPv6 takes no notice of the other answer before its second try, a second later.
    lines.append("ip6 daddr @refused6 meta l4proto tcp reject with tcp reset")
    lines += [
        f"{name} reject with icmpx type admin-prohibited" for name in ("ip daddr @refused4", "ip6 daddr @refused6")
    ]
    return "\n".join([*lines, "}", "}", ""])


def iptables_rules(reach: Reach, version: int) -> str:
    """The rules for `iptables-restore` (4) or `ip6tables-restore` (6), which replace those of before in one step."""
    resolver = RESOLVER_4 if version == 4 else RESOLVER_6
    refusal = "icmp-admin-prohibited" if version == 4 else "icmp6-adm-prohibited"
    lines = [
        "*filter",
        ":INPUT ACCEPT [0:0]",
        ":FORWARD DROP [0:0]",
        ":OUTPUT ACCEPT [0:0]",
        "-A OUTPUT -o lo -j ACCEPT",
    ]
    if version == 6:
        lines += [f"-A OUTPUT -p ipv6-icmp --icmpv6-type {kind} -j ACCEPT" for kind in (133, 135, 136)]
    lines += [f"-A OUTPUT -d {resolver} -p {protocol} --dport 53 -j ACCEPT" for protocol in ("udp", "tcp")]
    lines += [f"-A OUTPUT -d {each} -j ACCEPT" for each in reach.allowed if each.version == version]
    for each in reach.refused:
        if each.version == version:
            lines += [f"-A OUTPUT -d {each} -p tcp -j REJECT --reject-with tcp-reset"] if version == 6 else []
            lines.append(f"-A OUTPUT -d {each} -j REJECT --reject-with {refusal}")
    return "\n".join([*lines, "COMMIT", ""])


def resolver_file(families: Sequence[int]) -> str:
    """/etc/resolv.conf for a namespace whose resolver answers by these families."""
    resolvers = {4: RESOLVER_4, 6: RESOLVER_6}
    return "".join(f"nameserver {resolvers[family]}\n" for family in families)
