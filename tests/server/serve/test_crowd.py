"""No address takes all connections."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest

from clowdy.server.serve.crowd import Crowd
from tests.server.serve.stage import read_reply, stage

HEALTHY = b"GET /api/gateway/shop/x HTTP/1.1\r\nHost: x\r\n\r\n"


def test_an_address_has_a_limit_and_others_have_theirs() -> None:
    crowd = Crowd(2)
    assert [crowd.enter("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert crowd.enter("192.0.2.2")
    crowd.leave("192.0.2.1")
    assert crowd.enter("192.0.2.1")


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ("2001:db8::1", "2001:db8::ffff:0:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_a_network_of_version_6_counts_as_one(first: str, second: str, together: bool) -> None:
    crowd = Crowd(1)
    assert crowd.enter(first)
    assert crowd.enter(second) is not together


def test_a_proxy_stands_for_many() -> None:
    crowd = Crowd(1, lambda address: address == "192.0.2.9")
    assert all(crowd.enter("192.0.2.9") for _ in range(5))


@pytest.mark.parametrize("fast", [True, False])
async def test_a_connection_too_many_is_told_so_and_the_others_go_on(fast: bool) -> None:
    async with stage(fast=fast, connections=2) as on:
        first, second = await on.connect(), await on.connect()
        for reader, writer in (first, second):
            writer.write(HEALTHY)
            assert (await read_reply(reader)).status == 200
        reader, _ = await on.connect()
        refused = await read_reply(reader)
        assert (refused.status, refused.json["code"], refused["Retry-After"]) == (429, "busy", "1")
        assert await reader.read() == b""
        first[1].write(HEALTHY)
        assert (await read_reply(first[0])).status == 200

        second[1].close()
        async with asyncio.timeout(5):
            while True:
                reader, writer = await on.connect()
                writer.write(HEALTHY)
                if (await read_reply(reader)).status == 200:
                    break


async def test_connections_of_a_trusted_proxy_have_no_limit() -> None:
    async with stage(fast=True, connections=1, trust=[ipaddress.ip_network("127.0.0.1")]) as on:
        for _ in range(4):
            reader, writer = await on.connect()
            writer.write(HEALTHY)
            assert (await read_reply(reader)).status == 200
