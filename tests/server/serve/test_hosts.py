"""Whose a request is, and which proxies are believed."""

from __future__ import annotations

import ipaddress

import pytest
from multidict import CIMultiDict

from clowdy.server.serve.hosts import Hosts, Proxies
from tests.server.serve.stage import stage

PROXIES = Proxies([ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")])


@pytest.mark.parametrize(
    ("host", "project"),
    [
        ("shop.apps.example", "shop"),
        ("Shop.Apps.Example:8443", "shop"),
        ("shop.apps.example.", "shop"),
        ("apps.example", None),
        ("clowdy.apps.example", None),
        ("CLOWDY.apps.example:1", None),
        ("www.apps.example", None),
        ("api.apps.example", None),
        ("a.shop.apps.example", None),
        ("shop.apps.example.evil.com", None),
        ("shopapps.example", None),
        (".apps.example", None),
        ("", None),
        ("127.0.0.1:80", None),
        ("[::1]:80", None),
    ],
)
def test_hosts(host: str, project: str | None) -> None:
    hosts = Hosts("apps.example", "clowdy.apps.example")

    assert hosts.project(host) == project
    assert hosts.project(host) == project


def test_hosts_that_strangers_send_are_not_remembered_without_end() -> None:
    hosts = Hosts("localhost", "127.0.0.1")
    for number in range(10_000):
        assert hosts.project(f"p{number}.localhost") == f"p{number}"
    assert len(hosts._known) <= 4096


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("1.2.3.4", "9.9.9.9", "1.2.3.4"),
        (None, "9.9.9.9", None),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "9.9.9.9", "9.9.9.9"),
        ("10.0.0.1", "6.6.6.6, 9.9.9.9", "9.9.9.9"),
        ("10.0.0.1", "6.6.6.6, 9.9.9.9, 10.0.0.2", "9.9.9.9"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, nonsense", "10.0.0.1"),
        ("10.0.0.1", "9.9.9.9:1234", "9.9.9.9"),
        ("fd00::1", "[2001:db8::1]:99", "2001:db8::1"),
        ("::ffff:10.0.0.1", "9.9.9.9", "9.9.9.9"),
    ],
)
def test_the_client_is_the_last_that_no_trusted_proxy_vouches_for(
    peer: str | None, forwarded: str | None, client: str | None
) -> None:
    headers = CIMultiDict({"X-Forwarded-For": forwarded} if forwarded else {})

    assert PROXIES.client(peer, headers) == client


def test_headers_that_came_several_times_count_as_one_list() -> None:
    headers = CIMultiDict([("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "9.9.9.9")])

    assert PROXIES.client("10.0.0.1", headers) == "9.9.9.9"


def test_host_and_scheme_are_believed_from_proxies_alone() -> None:
    headers = CIMultiDict([("X-Forwarded-Host", "a.example, b.example"), ("X-Forwarded-Proto", "https")])

    assert PROXIES.host("10.0.0.1", headers, "direct") == "b.example"
    assert PROXIES.host("1.2.3.4", headers, "direct") == "direct"
    assert PROXIES.scheme("10.0.0.1", headers, "http") == "https"
    assert PROXIES.scheme("1.2.3.4", headers, "http") == "http"
    assert PROXIES.scheme("10.0.0.1", CIMultiDict({"X-Forwarded-Proto": "gopher"}), "http") == "http"
    assert Proxies().host("10.0.0.1", headers, "direct") == "direct"


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("network", "body"), [("127.0.0.0/8", None), ("10.0.0.0/8", b"page /x")])
async def test_a_forwarded_host_chooses_the_project_behind_a_trusted_proxy(
    fast: bool, network: str, body: bytes | None
) -> None:
    async with stage(fast=fast, trust=[ipaddress.ip_network(network)]) as on:
        reply = await on.ask("/x", headers=[("X-Forwarded-Host", "shop.localhost")])

        assert reply.status == 200
        if body is None:
            assert reply.json["path"] == "/x"
        else:
            assert reply.body == body
