from __future__ import annotations

from ipaddress import ip_address

import pytest

from clowdy.runtimes.sandbox.reach import Policy, Reach, iptables_rules, nft_rules, reach, resolver_file

_HOST = ("203.0.113.7", "203.0.113.64/26", "2001:db8::7", "127.0.0.1", "::1")


def _reaches(found: Reach, address: str) -> bool:
    """What the rules do with an address, in their order."""
    each = ip_address(address)
    if any(each in network for network in found.allowed):
        return True
    return not any(each in network for network in found.refused)


@pytest.mark.parametrize("address", ["198.51.100.1", "8.8.8.8", "203.0.113.8", "2001:db8::8", "64:ff9b::808:808"])
def test_public_addresses_are_reached(address: str) -> None:
    assert _reaches(reach(Policy(), _HOST), address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254", "169.254.0.23", "192.0.0.1", "192.0.0.192"),
        *("168.63.129.16", "100.100.100.200", "224.0.0.251", "239.255.255.250", "255.255.255.255", "240.0.0.1"),
        *("::", "::1", "fe80::1", "ff02::1", "ff05::1:3", "fd00:ec2::254", "fd20:ce::254", "fdc1:d:1:d::1"),
        *("::ffff:8.8.8.8", "::127.0.0.1", "::ffff:0:8.8.8.8"),
        *("203.0.113.7", "203.0.113.65", "2001:db8::7"),
        # By a translator: loopback, the metadata service, an address of the host.
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::cb00:7107", "2002:a9fe:a9fe::1", "2002:cb00:7107::1"),
    ],
)
@pytest.mark.parametrize("allow_private", [False, True])
def test_loopback_the_host_link_local_metadata_and_multicast_are_never_reached(
    address: str, allow_private: bool
) -> None:
    assert not _reaches(reach(Policy(allow_private=allow_private), _HOST), address)


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "198.18.0.1"),
        *("fc00::1", "fd12:3456::1", "fec0::1", "64:ff9b:1::1", "64:ff9b::a00:1", "2002:c0a8:101::1"),
    ],
)
def test_private_ranges_are_reached_where_they_are_allowed(address: str) -> None:
    assert not _reaches(reach(Policy(), ()), address)
    assert _reaches(reach(Policy(allow_private=True), ()), address)


def test_what_is_allowed_by_address_is_reached_and_its_neighbours_are_not() -> None:
    found = reach(Policy(allowed=("10.1.2.3", "fd00:1::/64", "203.0.113.7")), _HOST)
    assert _reaches(found, "10.1.2.3")
    assert _reaches(found, "fd00:1::9")
    assert _reaches(found, "203.0.113.7")
    assert not _reaches(found, "10.1.2.4")
    assert not _reaches(found, "fd00:1:0:1::9")


def test_the_rules_let_questions_to_the_resolver_pass_and_nothing_else_to_it() -> None:
    found = reach(Policy(), _HOST)
    rules = nft_rules(found).splitlines()
    assert [line for line in rules if "192.0.0.3" in line] == [
        "ip daddr 192.0.0.3 udp dport 53 accept",
        "ip daddr 192.0.0.3 tcp dport 53 accept",
    ]
    assert not _reaches(found, "192.0.0.3")
    assert not _reaches(found, "fdc1:d:1:d::3")


@pytest.mark.parametrize("version", [4, 6])
def test_iptables_gets_the_rules_of_one_version_allowed_first(version: int) -> None:
    found = reach(Policy(allowed=("10.1.2.3", "fd00:1::/64")), _HOST)
    rules = iptables_rules(found, version)
    destinations = [line.split()[3].partition("/")[0] for line in rules.splitlines() if line.startswith("-A OUTPUT -d")]
    assert {ip_address(each).version for each in destinations} == {version}
    accepted = rules.index("-d 10.1.2.3/32 -j ACCEPT" if version == 4 else "-d fd00:1::/64 -j ACCEPT")
    assert accepted < rules.index("-j REJECT")
    assert ":FORWARD DROP" in rules
    assert rules.endswith("COMMIT\n")


def test_the_resolver_file_names_a_resolver_for_each_family_that_the_machine_asks_by() -> None:
    assert resolver_file([4]) == "nameserver 192.0.0.3\n"
    assert resolver_file([6, 4]).splitlines()[0] == "nameserver fdc1:0d:1:d::3"
    assert resolver_file([]) == ""
